/** Puts the address of this service into the examples, so that they can be copied as they are. */
for (const place of document.querySelectorAll(".here")) place.textContent = new URL("./", location.href).href;
for (const place of document.querySelectorAll(".origin")) place.textContent = location.origin;
