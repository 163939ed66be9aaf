// Holds one conversation through the stock WebSocket transport of @openai/agents-realtime, and prints what the session
// and its transport tell, one JSON object a line: node client.mjs URL spoken|tool|barge_in
import { setTimeout as sleep } from "node:timers/promises";
import { RealtimeAgent, RealtimeSession, tool } from "@openai/agents-realtime";
import { z } from "zod";

const [url, scenario] = process.argv.slice(2);
const RATE = 24000;
const PIECE = RATE / 50; // 20 ms, as microphones give it

const print = (event) => process.stdout.write(`${JSON.stringify(event)}\n`);

const lookUp = tool({
  name: "look_up",
  description: "Look up the weather of a city.",
  parameters: z.object({ city: z.string() }),
  execute: async ({ city }) => `The sky over ${city} is blue.`,
});

const agent = new RealtimeAgent({
  name: "assistant",
  instructions: "Answer briefly.",
  tools: scenario === "tool" ? [lookUp] : [],
});
const session = new RealtimeSession(agent, { transport: "websocket" });

const told = [];
let waiting = [];
function tell(event) {
  told.push(event);
  print(event);
  waiting = waiting.filter(([happened, resolve]) => !(told.some(happened) && (resolve(), true)));
}
// Wait for what may have happened already: several events can come in one go.
const until = (happened) =>
  told.some(happened) ? Promise.resolve() : new Promise((resolve) => waiting.push([happened, resolve]));
const named = (name) => until((event) => event.name === name);
const answered = (status = "completed") => until((event) => event.name === "response.done" && event.status === status);

const audio = [];
session.on("audio", ({ data }) => audio.push(Buffer.from(data)));
session.on("audio_interrupted", () => tell({ from: "session", name: "audio_interrupted" }));
session.on("agent_tool_end", (_context, _agent, { name }, result) =>
  tell({ from: "session", name: "agent_tool_end", tool: name, result }),
);
session.on("error", ({ error }) => tell({ from: "session", name: "error", error: String(error?.message ?? error), details: error }));
session.on("transport_event", (event) => {
  const { type: name, response, transcript, item, audio_end_ms } = event;
  const { status, status_details, output } = response ?? {};
  tell({ from: "server", name, status, reason: status_details?.reason, output: output?.[0]?.type, transcript, item: item?.type, audio_end_ms });
});

// A tone of *hz* stands for an utterance; silence ends it.
async function say(hz, seconds = 0.6, silence = 1.2) {
  const samples = new Int16Array(RATE * (seconds + silence));
  for (let at = 0; at < RATE * seconds; at++) samples[at] = 8000 * Math.sin((2 * Math.PI * hz * at) / RATE);
  for (let at = 0; at < samples.length; at += PIECE) {
    session.sendAudio(samples.slice(at, at + PIECE).buffer);
    await sleep(5); // four times as fast as people speak
  }
}

const scenarios = {
  async spoken() {
    await say(440);
    await named("conversation.item.retrieved");
    await answered();
  },
  async tool() {
    await say(440);
    // The call is one response, what is said of its result another.
    await named("response.output_audio_transcript.done");
    await until((event) => event.name === "response.done" && event.output === "message");
  },
  async barge_in() {
    session.sendMessage(`tone 600 ${"and so on ".repeat(50)}`);
    await named("response.output_audio.delta");
    await sleep(200);
    await say(880);
    await named("conversation.item.truncated");
    await answered("cancelled");
    await answered();
  },
};

await session.connect({ apiKey: "not-needed", url });
await named("session.updated");
await scenarios[scenario]();
await sleep(200); // errors in answer to the last thing that the client sent
const history = session.history.map(({ type, role, status, content }) => ({ type, role, status, content: content?.map(({ type, transcript, text }) => ({ type, transcript, text })) }));
print({ from: "client", name: "end", history, audio: Buffer.concat(audio).toString("base64") });
session.close();
