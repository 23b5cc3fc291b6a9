// CORS_ORIGIN: the headers that browsers need. Without the setting there are none (see raw-http.mjs).

import assert from "node:assert/strict";
import { endpoint, request } from "../lib/raw.mjs";
import { scenario, theme } from "../lib/theme.mjs";

const ALLOWED = ["http://a.example", "https://b.example:8443"];

const ask = (t, origin, options = {}, query = { transport: "polling" }) =>
  request(endpoint(t.url, query), { ...options, headers: { origin, ...options.headers } });

export default theme("cors", { env: { CORS_ORIGIN: ALLOWED.join(",") } }, [
  scenario("an allowed origin is reflected, also in errors", async (t) => {
    for (const origin of ALLOWED) {
      for (const query of [{ transport: "polling" }, { transport: "nope" }]) {
        const { headers } = await ask(t, origin, {}, query);
        assert.equal(headers.get("access-control-allow-origin"), origin);
        assert.match(headers.get("vary"), /\bOrigin\b/);
      }
    }
  }),

  scenario("another origin is not reflected", async (t) => {
    for (const origin of ["http://evil.example", "http://a.example.evil", "http://a.example:81", "null"]) {
      const { status, headers } = await ask(t, origin);
      assert.equal(status, 200);
      assert.equal(headers.get("access-control-allow-origin"), null);
      assert.match(headers.get("vary"), /\bOrigin\b/);
    }
  }),

  scenario("a preflight is answered", async (t) => {
    const { status, headers, body } = await ask(t, ALLOWED[0], {
      method: "OPTIONS",
      headers: { "access-control-request-method": "POST", "access-control-request-headers": "x-one,x-two" },
    });
    assert.deepEqual([status, body], [204, ""]);
    assert.equal(headers.get("access-control-allow-origin"), ALLOWED[0]);
    assert.equal(headers.get("access-control-allow-methods"), "GET,HEAD,PUT,PATCH,POST,DELETE");
    assert.equal(headers.get("access-control-allow-headers"), "x-one,x-two");
  }),
]);
