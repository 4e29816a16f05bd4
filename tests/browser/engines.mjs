/**
 * The three engines that browsers are made of, as one: visitors, each with a storage of its own, and their tabs. A test
 * says what it does by these few words; what must happen before a page's scripts, the page itself brings along.
 *
 * | engine | program | driven by |
 * |---|---|---|
 * | chromium | Chromium | Playwright |
 * | firefox | Debian's firefox-esr | Puppeteer, WebDriver BiDi |
 * | webkit | Debian's webkit2gtk-driver, under Xvfb | Selenium, WebDriver |
 */
import { spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { importDriver, programsOf } from "../../scripts/lib/engines.mjs";
import { launchChromium } from "./chromium.mjs";

/**
 * @typedef {object} Tab
 * @property {(url: string) => Promise<void>} goto
 * @property {() => Promise<void>} reload
 * @property {() => Promise<void>} back
 * @property {() => Promise<void>} close as a visitor does it, with what the page still has to do
 * @property {(work: Function | string, argument?: unknown) => Promise<any>} evaluate
 */
/**
 * @typedef {object} Visitor
 * @property {() => Promise<Tab>} newTab
 * @property {() => Promise<void>} leave
 * @property {(offline: boolean) => Promise<void>} [setOffline] where an engine can
 */
/** @typedef {{newVisitor: () => Promise<Visitor>, close: () => Promise<void>}} Browser */

/** What tests need that not every engine's driver can, by engine: why. */
export const CANNOT = {
  chromium: {},
  firefox: { burst: "of the twenty requests of a tab that is closed at once it lost one in two runs of three" },
  webkit: {
    offline: "its driver cannot cut the network",
    timing: "it shows pages no Server-Timing",
  },
};

/** @type {Record<keyof typeof CANNOT, () => Promise<Browser>>} */
const LAUNCH = { chromium: launchPlaywright, firefox: launchFirefox, webkit: launchWebKit };

/** @param {keyof typeof CANNOT} engine */
export const launch = (engine) => LAUNCH[engine]();

async function launchPlaywright() {
  const args = ["--autoplay-policy=no-user-gesture-required"];
  const browser = await launchChromium(args, { ignoreDefaultArgs: ["--disable-back-forward-cache"] });
  return {
    close: () => browser.close(),
    newVisitor: async () => {
      const context = await browser.newContext();
      return {
        leave: () => context.close(),
        setOffline: (offline) => context.setOffline(offline),
        newTab: async () => {
          const page = await context.newPage();
          return {
            goto: async (url) => void (await page.goto(url)),
            reload: async () => void (await page.reload()),
            back: async () => void (await page.goBack({ waitUntil: "commit" })),
            close: () => page.close(),
            evaluate: (work, argument) => page.evaluate(/** @type {any} */ (work), argument),
          };
        },
      };
    },
  };
}

async function launchFirefox() {
  const [{ default: puppeteer }, [executablePath]] = await Promise.all([importDriver("puppeteer-core"), programsOf("firefox")]);
  const browser = await puppeteer.launch({
    browser: "firefox",
    executablePath,
    headless: true,
    extraPrefsFirefox: { "media.autoplay.default": 0, "media.autoplay.blocking_policy": 0, "dom.disable_beforeunload": false },
  });
  return {
    close: () => browser.close(),
    newVisitor: async () => {
      const context = await browser.createBrowserContext();
      const pages = [];
      return {
        leave: () => context.close(),
        setOffline: async (offline) => void (await Promise.all(pages.map((page) => page.setOfflineMode(offline)))),
        newTab: async () => {
          const page = await context.newPage();
          pages.push(page);
          return {
            goto: async (url) => void (await page.goto(url)),
            reload: async () => void (await page.reload()),
            back: async () => void (await page.evaluate(() => void setTimeout(() => history.back()))),
            close: async () => {
              pages.splice(pages.indexOf(page), 1);
              await page.close();
            },
            evaluate: (work, argument) => page.evaluate(work, argument),
          };
        },
      };
    },
  };
}

/** Where all cores are busy a browser is there after 2 s; one that is not by then does not come. */
const START_MS = 20_000;
/** What a page is waited for; the driver's own 300 s are more than a test has. */
const PAGE_MS = 60_000;

async function launchWebKit() {
  const [{ default: selenium }, [driver, xvfb, miniBrowser]] = await Promise.all([
    importDriver("selenium-webdriver"),
    programsOf("webkit"),
  ]);
  // Below those that systems give to whoever asks for any port.
  let port = 20_000 + (process.pid % 12_000);
  const start = async () => {
    const display = spawn(xvfb, ["-displayfd", "1", "-screen", "0", "1280x800x24", "-nolisten", "tcp"], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    const number = await new Promise((done, fail) => {
      display.stdout.once("data", (data) => done(String(data).trim()));
      display.once("exit", () => fail(new Error("Xvfb did not start")));
    });
    port++;
    const url = `http://127.0.0.1:${port}`;
    const env = { ...process.env, DISPLAY: `:${number}`, WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS: "1" };
    const server = spawn(driver, [`--port=${port}`], { env, stdio: "ignore" });
    const end = () => {
      server.kill();
      display.kill();
    };
    for (const last = Date.now() + START_MS; !(await fetch(`${url}/status`).catch(() => null))?.ok; await sleep(100)) {
      if (Date.now() < last) continue;
      end();
      throw new Error("WebKitWebDriver did not start");
    }
    return { url, end };
  };
  let running = await start();

  const capabilities = {
    browserName: "MiniBrowser",
    "webkitgtk:browserOptions": { binary: miniBrowser, args: ["--automation", "--autoplay-policy=allow"] },
  };
  // The driver tells its browser to listen on a port that was free a moment ago. Where another program has it by then, and
  // where the browser ends at once, the driver waits for ever: then it is ended, with its display and the browser there.
  const newSession = async (tries = 3) => {
    const session = Promise.resolve(new selenium.Builder().usingServer(running.url).withCapabilities(capabilities).build());
    const started = await Promise.race([session.catch((error) => error), sleep(START_MS, null, { ref: false })]);
    if (started && !(started instanceof Error)) return started;
    running.end();
    if (tries === 1) throw started ?? new Error("WebKit did not start");
    running = await start();
    return newSession(tries - 1);
  };
  return {
    close: async () => running.end(),
    newVisitor: async () => {
      const session = await newSession();
      await session.manage().setTimeouts({ script: PAGE_MS, pageLoad: PAGE_MS });
      let isFirst = true;
      // One question after the other: each is asked of the tab that the session is turned to.
      let last = Promise.resolve();
      const inTab = (handle, work) => {
        const turn = last.then(() => session.switchTo().window(handle)).then(work);
        last = turn.catch(() => {});
        return turn;
      };
      return {
        leave: () => session.quit(),
        newTab: async () => {
          if (!isFirst) await session.switchTo().newWindow("tab");
          isFirst = false;
          const handle = await session.getWindowHandle();
          return {
            goto: (url) => inTab(handle, () => session.get(url)),
            reload: () => inTab(handle, () => session.navigate().refresh()),
            back: () => inTab(handle, () => session.executeScript("setTimeout(() => history.back())")),
            // With the last tab the session would end, and its network with it.
            close: async () => {
              if ((await session.getAllWindowHandles()).length === 1) await session.switchTo().newWindow("tab");
              await inTab(handle, () => session.close());
              await session.switchTo().window((await session.getAllWindowHandles())[0]);
            },
            evaluate: (work, argument) =>
              inTab(handle, async () => {
                const call = typeof work === "string" ? work : `(${work})(argument)`;
                const { value, error } = await session.executeAsyncScript(
                  `const [argument, done] = arguments;
                  (async () => ({ value: await ${call} }))().catch((error) => ({ error: String(error) })).then(done);`,
                  argument ?? null,
                );
                if (error) throw new Error(error);
                return value ?? undefined;
              }),
          };
        },
      };
    },
  };
}
