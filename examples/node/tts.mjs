// A tts service of the suite, whole and in one file: it speaks by beeping, one tone for each clause.
//
//     npm ci && node tts.mjs --bind tcp://127.0.0.1:7704 --gateways tcp://127.0.0.1:7700
//
// It was written from proto/v1/speech.proto and proto/README.md alone; docs/write-a-service.md goes with it. To make it
// speak, replace `Voice`. What is above it is the same for every role; what is below it is what the role tts asks for.

import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import protobuf from "protobufjs";
import { Pull, Push } from "zeromq";

const { values: flags } = parseArgs({
  options: {
    bind: { type: "string", default: "tcp://127.0.0.1:7704" }, // our inbox
    advertise: { type: "string", default: "" }, // how others reach it, where that differs
    gateways: { type: "string", default: "tcp://127.0.0.1:7700" }, // comma-separated
    health_port: { type: "string", default: "0" }, // 0: any free one
    capacity: { type: "string", default: "16" }, // responses at a time
    lease_ttl_s: { type: "string", default: "10" },
    drain_timeout_s: { type: "string", default: "30" },
  },
});
const capacity = Number(flags.capacity);
const leaseTtlMs = Number(flags.lease_ttl_s) * 1000;

const proto = await protobuf.load(fileURLToPath(new URL("../../proto/v1/speech.proto", import.meta.url)));
const Frame = proto.lookupType("speech.v1.Frame");
const { TTS } = proto.lookupEnum("speech.v1.Role").values;
const State = proto.lookupEnum("speech.v1.State").values;
const Code = proto.lookupEnum("speech.v1.Error.Code").values;
const Stage = proto.lookupEnum("speech.v1.Stamp.Stage").values;
const stamp = (stage) => ({ stage, unixUs: Date.now() * 1000 });

// -- transport: one PULL that we bind, one PUSH to each peer, one frame a message ---------------------------------------

const MAX_FRAME_BYTES = 8 * 1024 * 1024;
const SOCKET = {
  linger: 0,
  maxMessageSize: 4 * MAX_FRAME_BYTES,
  tcpKeepalive: 1,
  reconnectInterval: 50,
  reconnectMaxInterval: 1000,
};
const MEDIA = new Set(["speechOut"]);
const IN_ORDER = new Set(["synthesisDone"]); // would cut the answer short if it overtook audio
const MOST_WAITING = 20_000; // frames for a peer that does not read; more are dropped and counted
const MOST_PEERS = 256;

const counted = { received: {}, sent: {}, dropped: {}, refused: {}, ended: {} };
const count = (kind, name) => (counted[kind][name] = (counted[kind][name] ?? 0) + 1);

class Peer {
  constructor(address) {
    this.socket = new Push({ ...SOCKET, sendHighWaterMark: 256, sendBufferSize: 262_144 });
    this.socket.connect(address);
    this.control = [];
    this.media = [];
    this.sending = false;
  }

  send(body, data) {
    const queue = MEDIA.has(body) || IN_ORDER.has(body) ? this.media : this.control;
    if (queue.length >= MOST_WAITING) return count("dropped", "peer_not_reading");
    queue.push([body, data]);
    if (!this.sending) void this.pump();
  }

  async pump() {
    this.sending = true; // ZeroMQ takes one send at a time
    for (let next; (next = this.control.shift() ?? this.media.shift()); ) {
      try {
        await this.socket.send(next[1]);
        count("sent", next[0]);
      } catch {
        count("dropped", "peer_closed");
      }
    }
    this.sending = false;
  }
}

const peers = new Map();

function send(address, header, body, content) {
  if (!address) return; // empty reply_to: not to be answered
  try {
    if (!peers.has(address)) {
      if (peers.size >= MOST_PEERS) {
        const [oldest, peer] = peers.entries().next().value;
        peers.delete(oldest);
        peer.socket.close();
      }
      peers.set(address, new Peer(address));
    }
  } catch {
    return count("dropped", "bad_address"); // an address in a frame may be wrong
  }
  peers.get(address).send(body, Frame.encode({ header, [body]: content }).finish());
}

// The ids of the work are copied into every answer; reply_to, next and deadline_ms stay empty.
const answering = ({ sessionId, turnId, revision, responseId, generation, traceparent }) => ({
  sessionId,
  turnId,
  revision,
  responseId,
  generation,
  traceparent,
});
const fail = (header, code, message, retryable = false) =>
  send(header.replyTo, answering(header), "error", { code, message, role: TTS, retryable });

// -- leases: who has a place, and until when --------------------------------------------------------------------------

const EARLY_MS = 2000; // text may come before its request: it is another process that sends it
const MOST_EARLY = 20_000;
const MOST_EARLY_BYTES = 32 * 1024 * 1024;
const MOST_CANCELS = 10_000;
const SWEEP_MS = 100;

// Bodies that may be about a process: an error without a session is a gateway's that cannot use our announcements.
const SESSIONLESS = new Set(["leaseRenewal", "drain", "error"]);

let state = State.LOADING;
const leases = new Map(); // key -> Response
const early = new Map(); // key -> [{ body, frame, bytes, at }]
const earlyTotal = { frames: 0, bytes: 0 };
const cancelled = new Map(); // what a cancel named -> its generation

const keyOf = (header) => JSON.stringify([header.sessionId, header.responseId]);
const workOf = (header, id) => JSON.stringify([header.sessionId, id]);

function receive(data) {
  let frame;
  try {
    frame = Frame.decode(data);
  } catch {
    return count("dropped", "malformed"); // there is no header to answer to
  }
  const header = frame.header ?? Frame.lookupType("Header").create();
  const body = frame.body; // undefined: one that this version does not know
  if (data.length > MAX_FRAME_BYTES || !body || (!header.sessionId && !SESSIONLESS.has(body))) {
    count("dropped", "malformed");
    return fail(header, Code.BAD_FRAME, "too big, no session, or no body known here");
  }
  count("received", body);
  switch (body) {
    case "synthesisRequest":
    case "textDelta":
    case "generationDone":
    case "synthesisGrant":
      return work(header, body, frame, data.length);
    case "cancel":
      return cancel(header);
    case "sessionClose":
      dropEarly((key) => JSON.parse(key)[0] === header.sessionId);
      return endAll((lease) => lease.header.sessionId === header.sessionId, "closed");
    case "leaseRenewal":
      for (const lease of leases.values())
        if (frame.leaseRenewal.sessionIds.includes(lease.header.sessionId)) lease.renewedAt = Date.now();
      return;
    case "drain":
      return drain();
    case "error": // never answered: two peers would keep each other busy for ever
    case "refusal":
      return count("dropped", "peer_error");
    default:
      fail(header, Code.BAD_FRAME, `a tts service takes no ${body}`);
  }
}

function work(header, body, frame, bytes) {
  const key = keyOf(header);
  let lease = leases.get(key);
  const stale = [header.responseId, header.turnId, ""].some((id) => header.generation < cancelled.get(workOf(header, id)));
  if (stale || header.generation < (lease?.header.generation ?? 0)) return count("dropped", "stale");
  if (!lease) {
    if (body !== "synthesisRequest") return notHere(key, header, body, frame, bytes);
    if (state !== State.READY) return refuse(header, "notReady", { role: TTS, state });
    if (leases.size >= capacity) return refuse(header, "atCapacity", { role: TTS, retryAfterMs: 1000 });
    lease = new Response(header, frame.synthesisRequest);
    leases.set(key, lease);
    lease.begin();
    for (const waiting of takeEarly(key)) if (!lease.ended) lease.receive(waiting.body, waiting.frame);
  } else {
    lease.receive(body, frame);
  }
  lease.renewedAt = Date.now();
}

function notHere(key, header, body, frame, bytes) {
  const fits = earlyTotal.frames < MOST_EARLY && earlyTotal.bytes + bytes <= MOST_EARLY_BYTES;
  if (body === "synthesisGrant" || !fits) {
    count("dropped", "unknown_session");
    return fail(header, Code.UNKNOWN_SESSION, `no lease here for this ${body}`, true);
  }
  early.set(key, [...(early.get(key) ?? []), { body, frame, bytes, at: Date.now() }]);
  earlyTotal.frames += 1;
  earlyTotal.bytes += bytes;
}

function takeEarly(key) {
  const waiting = early.get(key) ?? [];
  early.delete(key);
  for (const { bytes } of waiting) {
    earlyTotal.frames -= 1;
    earlyTotal.bytes -= bytes;
  }
  return waiting;
}

const dropEarly = (isMeant) => [...early.keys()].filter(isMeant).forEach(takeEarly);

function refuse(header, reason, content) {
  count("refused", reason === "notReady" ? "not_ready" : "at_capacity");
  send(header.replyTo, answering(header), "refusal", { [reason]: content });
}

// Ends what the header names: the response, else the turn, else all work of the session. Not answered.
function cancel(header) {
  const named = workOf(header, header.responseId || header.turnId || "");
  const generation = Math.max(header.generation, cancelled.get(named) ?? 0);
  cancelled.delete(named); // so that the newest stands last
  cancelled.set(named, generation);
  if (cancelled.size > MOST_CANCELS) cancelled.delete(cancelled.keys().next().value);
  if (header.responseId) takeEarly(keyOf(header));
  const isNamed = ({ header: ours }) =>
    ours.sessionId === header.sessionId &&
    (header.responseId
      ? ours.responseId === header.responseId
      : !header.turnId || ours.turnId === header.turnId);
  endAll(isNamed, "cancelled");
}

function endAll(isMeant, outcome) {
  for (const lease of [...leases.values()].filter(isMeant)) lease.end(outcome);
}

function sweep() {
  const now = Date.now();
  for (const lease of [...leases.values()]) {
    if (lease.deadlineAt && now >= lease.deadlineAt) lease.fail(Code.DEADLINE_EXCEEDED, "not done in time", true);
    else if (now - lease.renewedAt > leaseTtlMs) lease.fail(Code.LEASE_EXPIRED, "nothing renewed the lease", true);
    else if (lease.gapSince && now - lease.gapSince > EARLY_MS)
      lease.fail(Code.ENGINE_FAILED, "a part of the text is lost", true);
  }
  dropEarly((key) => now - early.get(key)[0].at > EARLY_MS);
}

// -- the voice: replace this ------------------------------------------------------------------------------------------

const MS_PER_CHARACTER = 60;
const RATES = { lowest: 8000, highest: 48_000 };

class Voice {
  constructor(text, sampleRate, speed) {
    const heard = text.match(/[\p{L}\p{N}]/gu)?.length ?? 0; // marks alone make no sound
    this.samples = Math.round((heard * MS_PER_CHARACTER * sampleRate) / 1000 / speed);
    this.step = (2 * Math.PI * (300 + (heard % 20) * 40)) / sampleRate;
    this.at = 0;
  }

  // Returns at most `most` samples, s16le; none at the end. Must not take long: it runs on the event loop.
  next(most) {
    const samples = new Int16Array(Math.min(most, this.samples - this.at));
    for (let place = 0; place < samples.length; place += 1) samples[place] = 8000 * Math.sin(this.step * this.at++);
    return new Uint8Array(samples.buffer);
  }
}

// -- a response: text in, in order; audio out, no further than granted ------------------------------------------------

const CHUNK_MS = 40;
const CHUNKS_A_TURN = 25; // then other sessions, and their cancels, have their turn
const MOST_TEXT = 256 * 1024;
const CLAUSE = /[^]{0,200}?[.!?,;:\n]+(?=\s)\s*|[^]{200}/uy; // ends at a mark before white space, or after 200 characters

class Response {
  constructor(header, request) {
    this.header = header;
    this.request = request;
    this.renewedAt = Date.now();
    this.deadlineAt = header.deadlineMs ? Date.now() + header.deadlineMs : 0;
    this.rate = request.sampleRate || 16_000;
    this.speed = request.speed || 1;
    this.grantedMs = request.grantedMs;
    this.text = ""; // not spoken yet
    this.complete = false;
    this.pieces = new Map(); // deltas that came before the one before them
    this.nextSeq = 0;
    this.total = -1; // deltas, once the llm has said how many
    this.gapSince = 0;
    this.voice = null;
    this.clause = ""; // its text, until it has been sent
    this.sent = 0; // samples
    this.stamps = [...header.stamps];
    this.ended = false;
    this.scheduled = false;
  }

  begin() {
    const { rate, speed, request } = this;
    if (rate < RATES.lowest || rate > RATES.highest)
      return this.fail(Code.INVALID_REQUEST, `sample rate ${rate} is not between ${RATES.lowest} and ${RATES.highest} Hz`);
    if (!(speed >= 0.25 && speed <= 4)) return this.fail(Code.INVALID_REQUEST, "speed is not between 0.25 and 4");
    if (request.voice && request.voice !== "beep") return this.fail(Code.INVALID_REQUEST, "the only voice is beep");
    if (request.text) this.write(request.text, true);
    this.go();
  }

  receive(body, frame) {
    if (body === "synthesisGrant") this.grantedMs = Math.max(this.grantedMs, frame.synthesisGrant.untilMs);
    if (body === "textDelta" && !this.complete) this.order(frame.textDelta, frame.header.stamps);
    if (body === "generationDone" && !this.complete) this.total = frame.generationDone.deltas;
    if (this.nextSeq === this.total) this.complete = true;
    const gap = this.pieces.size > 0 || (this.total >= 0 && !this.complete);
    this.gapSince = gap ? this.gapSince || Date.now() : 0;
    this.go();
  }

  order({ seq, text }, stamps) {
    if (seq < this.nextSeq) return; // came already
    if (seq === 0) this.stamps = [...stamps];
    this.pieces.set(seq, text);
    for (; this.pieces.has(this.nextSeq); this.nextSeq += 1) {
      this.write(this.pieces.get(this.nextSeq), false);
      this.pieces.delete(this.nextSeq);
    }
    if (this.pieces.size > 1000) this.fail(Code.ENGINE_FAILED, "a part of the text is lost", true);
  }

  write(text, complete) {
    this.text += text;
    this.complete = complete;
    if (this.text.length > MOST_TEXT) this.fail(Code.OVERLOADED, "too much text waits to be spoken", true);
  }

  // Cuts the next clause off the text; false if there is none yet.
  cut() {
    CLAUSE.lastIndex = 0;
    const clause = CLAUSE.exec(this.text)?.[0] ?? (this.complete ? this.text : "");
    if (!clause) return false;
    if (this.sent === 0 && !this.voice) this.stamps.push(stamp(Stage.TTS_STARTED));
    this.text = this.text.slice(clause.length);
    this.clause = clause;
    this.voice = new Voice(clause, this.rate, this.speed);
    return true;
  }

  go() {
    if (this.scheduled || this.ended) return;
    this.scheduled = true;
    setImmediate(() => {
      this.scheduled = false;
      for (let turn = 0; turn < CHUNKS_A_TURN && !this.ended; turn += 1) if (!this.sendChunk()) return;
      this.go();
    });
  }

  // Sends a frame; false if there is nothing to send, or it is not granted yet.
  sendChunk() {
    if (!this.grantedMs) return false;
    if (!this.voice && !this.cut()) {
      if (this.complete) this.done();
      return false;
    }
    const room = Math.floor((this.grantedMs * this.rate) / 1000) - this.sent;
    const silent = this.voice.samples === 0;
    if (room <= 0 && !silent) return false;
    const atMs = Math.floor((this.sent * 1000) / this.rate);
    const pcm = this.voice.next(Math.min(room, (CHUNK_MS * this.rate) / 1000));
    if (this.sent === 0 && pcm.length) this.stamps.push(stamp(Stage.TTS_FIRST_AUDIO));
    const header = { ...answering(this.header), stamps: this.sent === 0 && pcm.length ? this.stamps : [] };
    send(this.header.replyTo, header, "speechOut", { pcm, sampleRate: this.rate, atMs, text: this.clause });
    this.clause = "";
    this.sent += pcm.length / 2;
    if (this.voice.at >= this.voice.samples) this.voice = null;
    return true;
  }

  done() {
    const audioMs = Math.floor((this.sent * 1000) / this.rate);
    send(this.header.replyTo, answering(this.header), "synthesisDone", { audioMs });
    this.end("completed");
  }

  fail(code, message, retryable = false) {
    if (this.ended) return;
    fail(this.header, code, message, retryable); // holds nothing that was written
    this.end("failed");
  }

  // After this nothing of the response is sent.
  end(outcome) {
    if (this.ended) return;
    this.ended = true;
    leases.delete(keyOf(this.header));
    count("ended", outcome);
    if (state === State.DRAINING && leases.size === 0) void leave();
  }
}

// -- health, announcements, the end -----------------------------------------------------------------------------------

const family = (name, kind, lines) => [`# TYPE ${name} ${kind}`, ...lines].join("\n");
const counter = (name, label, counts) =>
  family(name, "counter", Object.entries(counts).map(([value, n]) => `${name}{${label}="${value}"} ${n}`));
const metrics = () =>
  [
    counter("speech_frames_received_total", "body", counted.received),
    counter("speech_frames_sent_total", "body", counted.sent),
    counter("speech_frames_dropped_total", "reason", counted.dropped),
    counter("speech_leases_refused_total", "reason", counted.refused),
    counter("speech_jobs_total", "outcome", counted.ended),
    family("speech_leases", "gauge", [`speech_leases ${leases.size}`]),
    family("speech_queue_age_seconds", "gauge", ["speech_queue_age_seconds 0"]),
    family("speech_ready", "gauge", [`speech_ready ${Number(state === State.READY)}`]),
    "",
  ].join("\n");

const health = createServer((request, response) => {
  const ready = state === State.READY;
  if (request.url === "/metrics") response.setHeader("Content-Type", "text/plain; version=0.0.4").end(metrics());
  else if (request.url === "/health/live") response.end("ok\n");
  else if (request.url === "/health/ready") response.writeHead(ready ? 200 : 503).end(ready ? "ok\n" : "not ready\n");
  else response.writeHead(404).end();
});
await new Promise((listening) => health.listen(Number(flags.health_port), "127.0.0.1", listening));

const inbox = new Pull({ ...SOCKET, receiveHighWaterMark: 256, receiveBufferSize: 262_144 });
await inbox.bind(flags.bind);
const instanceId = randomUUID();

function announce() {
  const announcement = {
    role: TTS,
    instanceId,
    inbox: flags.advertise || inbox.lastEndpoint,
    engine: "beep",
    protocolVersion: 1,
    capabilities: { voices: ["beep"], sampleRates: [16_000], streaming: true },
    capacity,
    leases: leases.size,
    state,
    healthUrl: `http://127.0.0.1:${health.address().port}`,
  };
  for (const gateway of flags.gateways.split(",")) send(gateway.trim(), {}, "announcement", announcement);
}

function drain() {
  if (state === State.DRAINING) return;
  state = State.DRAINING;
  announce();
  setTimeout(() => {
    for (const lease of [...leases.values()]) lease.fail(Code.ENGINE_FAILED, "the service is stopping", true);
    void leave();
  }, Number(flags.drain_timeout_s) * 1000).unref();
  if (leases.size === 0) void leave();
}

async function leave() {
  announce();
  await new Promise((sent) => setTimeout(sent, 50)); // LINGER is 0: what has not left is lost
  process.exit(0);
}

process.on("SIGTERM", drain).on("SIGINT", drain);
setInterval(sweep, SWEEP_MS);
setInterval(announce, 1000);
state = State.READY; // a model would be loaded first, and LOADING announced meanwhile
announce();
console.log(`tts beep at ${inbox.lastEndpoint}`);
for await (const parts of inbox) if (parts.length === 1) receive(parts[0]);
