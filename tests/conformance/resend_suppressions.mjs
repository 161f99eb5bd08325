// The official `resend` package from npm, unchanged: suppressions.
import { Resend } from "resend";

const resend = new Resend(process.env.KEY, { baseUrl: process.env.URL_V1 });
const added = await resend.suppressions.add({ email: "gone@x.example" });
const got = await resend.suppressions.get(added.data?.id);
const listed = await resend.suppressions.list({ origin: "manual" });
const batch = await resend.suppressions.batch.add({ emails: ["a@x.example", "b@x.example"] });
const removedBatch = await resend.suppressions.batch.remove({
  ids: batch.data?.data.map((one) => one.id),
});
const removed = await resend.suppressions.remove("gone@x.example");
const refused = await resend.suppressions.remove(process.env.ANGRY);
console.log(JSON.stringify({ added, got, listed, batch, removedBatch, removed, refused }));
