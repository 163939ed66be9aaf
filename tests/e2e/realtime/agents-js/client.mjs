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

let waiting = [];
const told = [];
function tell(event) {
  told.push(event);
  print(event);
  waiting = waiting.filter(([matches, resolve]) => !(matches(event) && (resolve(event), true)));
}
// The next event that matches. Ask before doing what brings it about.
const next = (matches) => new Promise((resolve) => waiting.push([matches, resolve]));
const server = (name) => next((event) => event.from === "server" && event.name === name);

const audio = [];
session.on("audio", ({ data }) => audio.push(Buffer.from(data)));
session.on("audio_interrupted", () => tell({ from: "session", name: "audio_interrupted" }));
session.on("agent_tool_end", (_context, _agent, { name }, result) =>
  tell({ from: "session", name: "agent_tool_end", tool: name, result }),
);
session.on("error", ({ error }) => tell({ from: "session", name: "error", error: String(error?.message ?? error), details: error }));
session.on("transport_event", (event) => {
  const { type: name, response, transcript, item, audio_end_ms } = event;
  tell({ from: "server", name, status: response?.status, reason: response?.status_details?.reason, transcript, item: item?.type, audio_end_ms });
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

const answered = () => next((event) => event.name === "response.done" && event.status === "completed");
const retrieved = () => server("conversation.item.retrieved");

const scenarios = {
  async spoken() {
    const all = Promise.all([answered(), retrieved()]);
    await say(440);
    await all;
  },
  async tool() {
    // The call is one response, what is said of its result another.
    const all = server("response.output_audio_transcript.done").then(answered);
    await say(440);
    await all;
  },
  async barge_in() {
    const voice = next((event) => event.name === "response.output_audio.delta");
    session.sendMessage(`tone 600 ${"and so on ".repeat(50)}`);
    await voice;
    await sleep(200);
    const cut = Promise.all([server("conversation.item.truncated"), next((event) => event.status === "cancelled")]);
    const all = cut.then(answered);
    await say(880);
    await all;
  },
};

const updated = server("session.updated");
await session.connect({ apiKey: "not-needed", url });
await updated;
await scenarios[scenario]();
await sleep(200); // errors in answer to the last thing that the client sent
const history = session.history.map(({ type, role, status, content }) => ({ type, role, status, content: content?.map(({ type, transcript, text }) => ({ type, transcript, text })) }));
print({ from: "client", name: "end", history, audio: Buffer.concat(audio).toString("base64") });
session.close();
