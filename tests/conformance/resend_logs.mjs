// The log of requests with the official `resend` package from npm, unchanged: prints its results as one JSON object.
import { Resend } from "resend";

const resend = new Resend(process.env.KEY, { baseUrl: process.env.URL_V1 });
await resend.emails.send({ from: `me@${process.env.DOMAIN}`, to: [], subject: "Hi", text: "Hi" });
// Each list is a request too: without a pause these fill the page before the first one is there.
let listed;
do {
  await new Promise((resolve) => setTimeout(resolve, 500));
  listed = await resend.logs.list();
} while (!listed.error && !listed.data.data.some((one) => one.endpoint === "/emails"));
const { id } = listed.data.data.find((one) => one.endpoint === "/emails");
const got = await resend.logs.get(id);
console.log(JSON.stringify({ listed, got }));
