// A headless Chromium, driven by its DevTools protocol over pipes; no packages.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const SECONDS = 60;

export class Chromium {
  #process;
  #profile = mkdtempSync(join(tmpdir(), "siskin-chromium-"));
  #calls = new Map();
  #next = 1;
  #unread = "";
  #session;
  #ended;

  /** Starts the browser with an empty profile and these flags besides its usual ones, and opens a page at `url`. */
  static async open(url, flags = []) {
    const browser = new Chromium(process.env.CHROMIUM ?? "chromium", flags);
    const { targetId } = await browser.send("Target.createTarget", { url: "about:blank" });
    const { sessionId } = await browser.send("Target.attachToTarget", { targetId, flatten: true });
    browser.#session = sessionId;
    await browser.send("Page.enable");
    await browser.send("Runtime.enable");
    await browser.goTo(url);
    return browser;
  }

  constructor(command, flags) {
    // Inside a container there are neither user namespaces nor much shared memory.
    const usual = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe"];
    const stdio = ["ignore", "ignore", "ignore", "pipe", "pipe"];
    this.#process = spawn(command, [...usual, ...flags, `--user-data-dir=${this.#profile}`], { stdio });
    this.#process.stdio[4].setEncoding("utf8").on("data", (text) => this.#hear(text));
    this.#process.stdio[3].on("error", () => {});
    this.#ended = new Promise((resolve) => this.#process.once("exit", resolve).once("error", resolve));
    this.#ended.then((reason) => this.#fail(new Error(`${command} has ended: ${reason}`)));
  }

  #fail(error) {
    for (const call of this.#calls.values()) call.reject(error);
    this.#calls.clear();
  }

  #hear(text) {
    const messages = (this.#unread + text).split("\0");
    this.#unread = messages.pop();
    for (const { id, result, error } of messages.map((message) => JSON.parse(message))) {
      const call = this.#calls.get(id);
      this.#calls.delete(id);
      if (error) call?.reject(new Error(error.message));
      else call?.resolve(result);
    }
  }

  /** Calls a method of the protocol. */
  send(method, params = {}) {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#calls.set(id, { resolve, reject });
      this.#process.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId: this.#session })}\0`);
    });
  }

  async goTo(url) {
    await this.send("Page.navigate", { url });
  }

  /** The value of an expression in the page, a promise's too. */
  async evaluate(expression) {
    const options = { expression, awaitPromise: true, returnByValue: true };
    const { result, exceptionDetails } = await this.send("Runtime.evaluate", options);
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }

  /** Waits until an expression in the page is true. */
  async until(expression) {
    const end = Date.now() + SECONDS * 1000;
    while (!(await this.evaluate(expression).catch(() => false))) {
      if (Date.now() > end) throw new Error(`after ${SECONDS} s not yet: ${expression}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Presses a key that is no character. */
  async press(key, code) {
    for (const type of ["rawKeyDown", "keyUp"]) {
      await this.send("Input.dispatchKeyEvent", { type, key, code: key, windowsVirtualKeyCode: code });
    }
  }

  /** Types into what has the focus. */
  type(text) {
    return this.send("Input.insertText", { text });
  }

  /** A picture of the page in a window of so many pixels, as PNG. */
  async screenshot(width, height) {
    const metrics = { width, height, deviceScaleFactor: 1, mobile: width < 600 };
    await this.send("Emulation.setDeviceMetricsOverride", metrics);
    const { data } = await this.send("Page.captureScreenshot");
    return Buffer.from(data, "base64");
  }

  async close() {
    // It may end before it answers.
    await Promise.race([this.send("Browser.close"), this.#ended]).catch(() => {});
    await this.#ended;
    rmSync(this.#profile, { recursive: true, force: true, maxRetries: 5 });
  }
}
