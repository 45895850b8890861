// The receiver that a shop would write with Express: verifies Twilio's signature with their library, writes a message with
// its order, items, ledger entry and reply in one transaction, and gives the stored reply to every repeat. A process for
// each core, prepared statements, products in memory.
import cluster from "node:cluster";
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import express from "express";
import pg from "pg";
import twilio from "twilio";

const { DATABASE_URL, PORT, PUBLIC_URL, TWILIO_AUTH_TOKEN, CATALOGUE, CONNECTIONS } = process.env;
const workers = availableParallelism();

if (cluster.isPrimary) {
  let listening = 0;
  cluster.on("listening", () => {
    listening += 1;
    if (listening === workers) console.log("ready");
  });
  for (let worker = 0; worker < workers; worker += 1) cluster.fork();
} else {
  serve();
}

function catalogue() {
  const products = new Map();
  for (const line of readFileSync(CATALOGUE, "utf8").trim().split("\n").slice(1)) {
    const [sku, name, aliases, price] = line.split(",");
    const product = { sku, name, cents: Math.round(Number(price) * 100) };
    for (const word of [name, ...aliases.split("|")]) products.set(word.toLowerCase(), product);
  }
  return products;
}

function read(text, products) {
  const items = [];
  for (const part of text.toLowerCase().split(/\s*(?:,|\band\b|\n)\s*/)) {
    const found = /^(\d+)\s+(.+)$/.exec(part.trim());
    const product = found && (products.get(found[2]) ?? products.get(found[2].replace(/s$/, "")));
    if (!product) return null;
    items.push({ product, quantity: Number(found[1]) });
  }
  return items;
}

function twiml(text) {
  const response = new twilio.twiml.MessagingResponse();
  if (text) response.message(text);
  return response.toString();
}

async function store(client, form, items) {
  const order = randomUUID();
  const total = items.reduce((sum, item) => sum + item.quantity * item.product.cents, 0);
  const lines = items.map((item) => `${item.quantity} x ${item.product.name}`);
  const reply = twiml(`Order ${order.slice(0, 8)}:\n${lines.join("\n")}\nTotal ${(total / 100).toFixed(2)} USD`);
  await client.query("BEGIN");
  const claimed = await client.query({
    name: "claim",
    text: "INSERT INTO messages (message_sid, sender, body, reply) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
    values: [form.MessageSid, form.From, form.Body, reply],
  });
  if (claimed.rowCount === 0) {
    const known = await client.query({
      name: "known",
      text: "SELECT reply FROM messages WHERE message_sid = $1",
      values: [form.MessageSid],
    });
    await client.query("COMMIT");
    return known.rows[0].reply;
  }
  await client.query({
    name: "order",
    text: "INSERT INTO orders (id, message_sid, customer, total_cents) VALUES ($1, $2, $3, $4)",
    values: [order, form.MessageSid, form.From, total],
  });
  await client.query({
    name: "items",
    text: `INSERT INTO order_items (order_id, position, sku, quantity, price_cents)
           SELECT $1, * FROM unnest($2::int[], $3::text[], $4::int[], $5::bigint[])`,
    values: [
      order,
      items.map((_, at) => at),
      items.map((item) => item.product.sku),
      items.map((item) => item.quantity),
      items.map((item) => item.product.cents),
    ],
  });
  await client.query({
    name: "entry",
    text: "INSERT INTO ledger_entries (id, order_id, amount_cents) VALUES ($1, $2, $3)",
    values: [randomUUID(), order, total],
  });
  await client.query("COMMIT");
  return reply;
}

function serve() {
  const products = catalogue();
  const pool = new pg.Pool({
    connectionString: DATABASE_URL,
    max: Math.floor(Number(CONNECTIONS) / workers),
    idleTimeoutMillis: 0,
  });
  const app = express();
  app.disable("x-powered-by");
  app.disable("etag");
  app.post("/webhooks/twilio", express.urlencoded({ extended: false }), async (request, response) => {
    const signature = request.get("X-Twilio-Signature") ?? "";
    if (!twilio.validateRequest(TWILIO_AUTH_TOKEN, signature, PUBLIC_URL + request.originalUrl, request.body)) {
      response.status(401).send("the signature does not fit");
      return;
    }
    const items = read(request.body.Body ?? "", products);
    if (!items) {
      response.type("text/xml").send(twiml(null));
      return;
    }
    const client = await pool.connect();
    try {
      response.type("text/xml").send(await store(client, request.body, items));
    } catch (error) {
      await client.query("ROLLBACK").catch(() => {});
      console.error(error);
      response.status(500).send("failed");
    } finally {
      client.release();
    }
  });
  app.listen(Number(PORT), "127.0.0.1");
}
