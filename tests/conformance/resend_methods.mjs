// The requests of every method of the official `resend` package from npm, by the method's name.
import { Resend } from "resend";

const ID = process.env.ID;
let seen = [];
globalThis.fetch = async (url, options) => {
  const path = decodeURI(new URL(url).pathname).replaceAll(/\[object Object\]|undefined/g, ID);
  seen.push([(options?.method ?? "GET").toLowerCase(), path]);
  return new Response("{}", { headers: { "content-type": "application/json" } });
};

const anything = new Proxy({}, { get: (_, name) => (name === "toJSON" ? () => ({}) : ID) });

async function requestsOf(method) {
  for (const given of [[anything, anything], [[{}]]]) {
    seen = [];
    try {
      await method(...given);
    } catch {
      continue; // another kind of parameter
    }
    if (seen.length) return seen;
  }
  return [];
}

const found = {};
async function walk(owner, path) {
  const kind = Object.getPrototypeOf(owner);
  for (const name of Object.getOwnPropertyNames(kind)) {
    if (name !== "constructor" && typeof owner[name] === "function") {
      found[`${path}.${name}`] = await requestsOf(owner[name].bind(owner));
    }
  }
  for (const [name, inner] of Object.entries(owner)) {
    if (name !== "resend" && inner?.constructor?.name && inner.resend) {
      await walk(inner, `${path}.${name}`);
    }
  }
}

const resend = new Resend("re_1", { baseUrl: "http://x/v1" });
for (const [name, owner] of Object.entries(resend)) {
  if (owner?.resend === resend) await walk(owner, name);
}
console.log(JSON.stringify(found));
