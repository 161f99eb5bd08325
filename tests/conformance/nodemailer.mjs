// The `nodemailer` package from npm, unchanged: prints what it reports of each message as JSON.
import { readFileSync } from "node:fs";
import nodemailer from "nodemailer";

const { PORT, SECURE, KEY, CA, FROM, TO } = process.env;
const options = {
  host: "localhost",
  port: Number(PORT),
  secure: SECURE === "yes",
  requireTLS: true,
  tls: { ca: readFileSync(CA) },
};
const results = {};
const pooled = nodemailer.createTransport({
  ...options,
  pool: true,
  maxConnections: 2,
  auth: { user: "any", pass: KEY },
});
const mail = (number) => ({
  from: `Shop <${FROM}>`,
  to: TO.replace("@", `.${number}@`),
  subject: "Grüße",
  text: "Hello, Zoë\n.\n..\n",
  html: "<p>Hello, Zoë</p>",
  attachments: [{ filename: "a.bin", content: Buffer.from([0, 255, 10]) }],
});
const sent = await Promise.all([0, 1, 2, 3].map((number) => pooled.sendMail(mail(number))));
results.replies = sent.map((one) => one.response);
pooled.close();
const stranger = nodemailer.createTransport({ ...options, auth: { user: "any", pass: "wrong" } });
results.refused = await stranger.sendMail(mail(9)).catch((error) => error.responseCode);
console.log(JSON.stringify(results));
