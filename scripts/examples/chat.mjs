// Streams an answer with nothing but Node 18 or later.
// Usage: BASE=http://127.0.0.1:8081 KEY=apk_... MODEL=... node scripts/examples/chat.mjs
const { BASE = "http://127.0.0.1:8081", KEY, MODEL = "sim-8-20" } = process.env;

const answer = await fetch(`${BASE}/v1/chat/completions`, {
  method: "POST",
  headers: { authorization: `Bearer ${KEY}`, "content-type": "application/json" },
  body: JSON.stringify({ model: MODEL, stream: true, messages: [{ role: "user", content: "Say hello." }] }),
});
if (!answer.ok) {
  console.error(answer.status, await answer.text());
  process.exit(1);
}

let rest = "";
const decoder = new TextDecoder();
for await (const piece of answer.body) {
  const lines = (rest + decoder.decode(piece, { stream: true })).split("\n");
  rest = lines.pop();
  for (const line of lines) {
    if (!line.startsWith("data: ") || line === "data: [DONE]") continue;
    const event = JSON.parse(line.slice(6));
    if (event.error) throw new Error(event.error.message);
    process.stdout.write(event.choices[0]?.delta?.content ?? "");
  }
}
console.log();
