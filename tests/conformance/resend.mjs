// The official `resend` package from npm, unchanged: prints its results as one JSON object.
import { Resend } from "resend";

const resend = new Resend(process.env.KEY, { baseUrl: process.env.URL_V1 });
const email = (changes = {}) => ({
  from: `Shop <hello@${process.env.DOMAIN}>`,
  to: "delivered@obm-sandbox.net",
  subject: "Hi",
  html: "<p>Hi</p>",
  ...changes,
});

const sent = await resend.emails.send(
  email({
    replyTo: "replies@x.example",
    attachments: [{ filename: "a.bin", content: Buffer.from([0, 255, 10]) }],
  }),
  { idempotencyKey: "order-18" },
);
const again = await resend.emails.send(email({ subject: "Other" }), { idempotencyKey: "order-18" });
const batch = await resend.batch.send([email(), email({ subject: "Two" })]);
const got = await resend.emails.get(sent.data?.id);
const scheduled = await resend.emails.send(email({ scheduledAt: "in 20 min" }));
const moved = await resend.emails.update({ id: scheduled.data?.id, scheduledAt: "in 30 min" });
const canceled = await resend.emails.cancel(scheduled.data?.id);
const listed = await resend.emails.list({ limit: 5 });
const refused = await resend.emails.send(email({ to: "nobody" }));
console.log(
  JSON.stringify({ sent, again, batch, got, scheduled, moved, canceled, listed, refused }),
);
