// Figures with the official `resend` package from npm, unchanged: prints its results as one JSON object.
import { Resend } from "resend";

const resend = new Resend(process.env.KEY, { baseUrl: process.env.URL_V1 });
const whole = await resend.emails.metrics();
const some = await resend.emails.metrics({
  metrics: ["sent", "open_rate"],
  dimensions: ["period", "domain"],
  granularity: "hourly",
  timezone: "America/New_York",
});
const usage = await resend.usage.get();
console.log(JSON.stringify({ whole, some, usage }));
