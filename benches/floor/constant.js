/**
 * The least that a Worker can do for `npm run bench -- read`: a constant of `SIZE` bytes, at once.
 * It runs on the same bare workerd as the service.
 */
let body;

export default {
  /** @param {Request} _request @param {{SIZE: string}} env */
  fetch(_request, env) {
    body ??= new TextEncoder().encode(`"${"x".repeat(Number(env.SIZE) - 2)}"`);
    return new Response(body, { headers: { "Content-Type": "application/json" } });
  },
};
