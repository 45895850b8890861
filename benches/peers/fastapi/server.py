"""The receiver that a shop would write with FastAPI: verifies Twilio's signature with their library, writes a message with
its order, items, ledger entry and reply in one transaction, and gives the stored reply to every repeat. A process for each
core, uvloop, prepared statements (asyncpg keeps them), products in memory."""

import csv
import os
import re
import uuid
from contextlib import asynccontextmanager
from decimal import Decimal

import asyncpg
from fastapi import FastAPI, Request, Response
from twilio.request_validator import RequestValidator
from twilio.twiml.messaging_response import MessagingResponse

WORKERS = int(os.environ["WORKERS"])
PUBLIC_URL = os.environ["PUBLIC_URL"]
validator = RequestValidator(os.environ["TWILIO_AUTH_TOKEN"])
PART = re.compile(r"\s*(?:,|\band\b|\n)\s*")
ITEM = re.compile(r"(\d+)\s+(.+)")


def catalogue():
    products = {}
    with open(os.environ["CATALOGUE"], encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            product = (row["sku"], row["name"], int(Decimal(row["price"]) * 100))
            for word in [row["name"], *row["aliases"].split("|")]:
                products[word.lower()] = product
    return products


PRODUCTS = catalogue()


@asynccontextmanager
async def lifespan(app):
    each = int(os.environ["CONNECTIONS"]) // WORKERS
    async with asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=each, max_size=each) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan, openapi_url=None)


def read(text):
    items = []
    for part in PART.split(text.lower()):
        found = ITEM.fullmatch(part.strip())
        product = found and (PRODUCTS.get(found[2]) or PRODUCTS.get(found[2].removesuffix("s")))
        if not product:
            return None
        items.append((int(found[1]), product))
    return items


def twiml(text):
    response = MessagingResponse()
    if text:
        response.message(text)
    return str(response)


async def store(connection, form, items):
    order = uuid.uuid4()
    total = sum(quantity * cents for quantity, (_, _, cents) in items)
    lines = "\n".join(f"{quantity} x {name}" for quantity, (_, name, _) in items)
    reply = twiml(f"Order {str(order)[:8]}:\n{lines}\nTotal {total / 100:.2f} USD")
    sid = form["MessageSid"]
    async with connection.transaction():
        claimed = await connection.fetchval(
            "INSERT INTO messages (message_sid, sender, body, reply) VALUES ($1, $2, $3, $4)"
            " ON CONFLICT DO NOTHING RETURNING true",
            sid,
            form["From"],
            form["Body"],
            reply,
        )
        if not claimed:
            return await connection.fetchval("SELECT reply FROM messages WHERE message_sid = $1", sid)
        await connection.execute(
            "INSERT INTO orders (id, message_sid, customer, total_cents) VALUES ($1, $2, $3, $4)",
            order,
            sid,
            form["From"],
            total,
        )
        await connection.execute(
            "INSERT INTO order_items (order_id, position, sku, quantity, price_cents)"
            " SELECT $1, * FROM unnest($2::int[], $3::text[], $4::int[], $5::bigint[])",
            order,
            list(range(len(items))),
            [sku for _, (sku, _, _) in items],
            [quantity for quantity, _ in items],
            [cents for _, (_, _, cents) in items],
        )
        await connection.execute(
            "INSERT INTO ledger_entries (id, order_id, amount_cents) VALUES ($1, $2, $3)",
            uuid.uuid4(),
            order,
            total,
        )
    return reply


@app.post("/webhooks/twilio")
async def receive(request: Request):
    form = dict(await request.form())
    signature = request.headers.get("X-Twilio-Signature", "")
    if not validator.validate(PUBLIC_URL + request.url.path, form, signature):
        return Response("the signature does not fit", status_code=401)
    items = read(form.get("Body", ""))
    if items is None:
        return Response(twiml(None), media_type="text/xml")
    async with request.app.state.pool.acquire() as connection:
        return Response(await store(connection, form, items), media_type="text/xml")
