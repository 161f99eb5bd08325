// The official `resend` package from npm, unchanged: domains, API keys and webhooks.
import { Resend } from "resend";

const resend = new Resend(process.env.KEY, { baseUrl: process.env.URL_V1 });
const created = await resend.domains.create({ name: process.env.NAME });
const id = created.data?.id;
const verified = await resend.domains.verify(id);
const got = await resend.domains.get(id);
const updated = await resend.domains.update({ id, clickTracking: false });
const listed = await resend.domains.list();
const removed = await resend.domains.remove(id);
const gone = await resend.domains.get(id);

const key = await resend.apiKeys.create({
  name: "restricted",
  permission: "sending_access",
});
const keyUpdated = await resend.apiKeys.update(key.data?.id, { name: "renamed" });
const keys = await resend.apiKeys.list();
const keyRemoved = await resend.apiKeys.remove(key.data?.id);

const webhook = await resend.webhooks.create({
  endpoint: "https://shop.example.net/hook",
  events: ["email.delivered"],
});
const webhooks = await resend.webhooks.list();
const hook = await resend.webhooks.get(webhook.data?.id);
const webhookUpdated = await resend.webhooks.update(webhook.data?.id, {
  events: ["email.bounced"],
  status: "disabled",
});
await resend.webhooks.update(webhook.data?.id, { status: "enabled" });
const headers = { Authorization: `Bearer ${process.env.KEY}` };
const sent = await fetch(`${process.env.URL_V1}/webhooks/${webhook.data?.id}/test`, {
  method: "POST",
  headers,
});
const eventId = (await sent.json()).id;
const named = { webhookId: webhook.data?.id, eventId };
const events = await resend.webhooks.events.list({ webhookId: webhook.data?.id, limit: 10 });
const event = await resend.webhooks.events.get(named);
const replayed = await resend.webhooks.events.replay(named);
const attempts = await resend.webhooks.events.attempts.list({ ...named, limit: 10 });
const rotated = await resend.webhooks.rotateSigningSecret(webhook.data?.id);
const webhookRemoved = await resend.webhooks.remove(webhook.data?.id);
console.log(
  JSON.stringify({
    created, verified, got, updated, listed, removed, gone,
    key, keyUpdated, keys, keyRemoved, webhook, webhooks, hook, webhookUpdated, webhookRemoved,
    events, event, replayed, attempts, rotated,
  }),
);
