"""The pictures of the README and the docs, from a workspace with a month of made-up conversations: `make pictures`."""

import random
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import aiohttp
from playwright.async_api import Browser, expect

from local.paths import REPOSITORY
from tests.e2e.dashboards import Dashboard
from tests.e2e.shops import Shop
from tests.functions.conftest import add_model
from tests.functions.people import sign_up
from tests.standins.openai import DONE, OpenAI, chunk, event

IMAGES = REPOSITORY / "docs" / "images"
DAYS = 62

DIALOGUES: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("Geneva to Nice", ("charter",), (
        "Hello! Four of us would like to fly from Geneva to Nice next Friday. What would that cost?",
        "With pleasure. For four passengers a light jet is the best fit: **45 minutes**, from about **€7,900**."
        " Shall I ask three operators for quotes?",
        "Yes please. We come back on Sunday evening.",
        "Done: I asked for a return on Sunday after 17:00. You get the first quotes within the hour.",
    )),
    ("Change of date", ("booking",), (
        "Can I move my booking to the 14th?",
        "Yes, your fare allows one change without a fee. The flight on the 14th leaves at **10:40**. Shall I move it?",
        "That works, thanks!",
    )),
    ("Invoice", ("billing",), (
        "I need an invoice with our VAT number for order 1182.",
        "I have sent the corrected invoice to your email. It has your VAT number and the order's date.",
        "Got it. Thank you, that helped!",
    )),
    ("Gepäck", ("booking", "german"), (
        "Wie viel Gepäck darf ich mitnehmen?",
        "Pro Person sind **zwei Koffer bis 20 kg** und ein Handgepäck dabei. Skier nehmen wir ohne Aufpreis mit.",
    )),
    ("ساعات العمل", ("arabic",), (
        "ما هي ساعات العمل في عطلة نهاية الأسبوع؟",
        "فريقنا متاح كل يوم من الثامنة صباحًا حتى العاشرة مساءً، ويمكنك الكتابة هنا في أي وقت.",
    )),
    ("Cancellation", ("booking",), (
        "What happens if we have to cancel?",
        "Up to 72 hours before departure you get everything back, later 50 %.",
        "OK, and with illness?",
        "With a doctor's note the operator refunds the rest as well.",
    )),
)  # fmt: skip
NAMES = (
    "Ana Ferreira", "Jonas Weber", "Chloé Martin", "Mehmet Kaya", "Grace Okafor", "Hiro Tanaka", "ليلى حسن",
    "Ivan Petrov", "Sofia Rossi", "Noah Williams", "Emma Lindqvist", "Lucas Moreau", "Mia Schneider", "Omar Farouk",
    "Zoë Janssens",
)  # fmt: skip
STATUSES = ("completed",) * 16 + ("timeout",) * 2 + ("failed",) + ("cancelled",)


def _batch(now: datetime) -> dict[str, Any]:
    """A month of conversations, more of them lately and in the daytime."""
    chance = random.Random(7)  # noqa: S311 - made-up content
    contacts = [
        {
            "external_id": f"c{place}",
            "first_name": name.split()[0],
            "last_name": name.split()[1],
            "identities": [f"email:guest{place}@example.com"],
            "created_at": (now - timedelta(days=DAYS)).isoformat(),
        }
        for place, name in enumerate(NAMES)
    ]
    return {"source": "pictures", "contacts": contacts, "conversations": list(_conversations(now, chance))}


def _conversations(now: datetime, chance: random.Random) -> Iterator[Mapping[str, Any]]:
    for day in range(DAYS, 0, -1):
        date = now - timedelta(days=day)
        for place in range(chance.randint(2, 5) + (DAYS - day) // 16 - (2 if date.weekday() > 4 else 0)):
            subject, tags, texts = chance.choice(DIALOGUES)
            at = date.replace(hour=chance.randint(7, 20), minute=chance.randint(0, 59))
            status = chance.choice(STATUSES)
            messages: list[dict[str, Any]] = []
            turns: list[dict[str, Any]] = []
            for number, text in enumerate(texts):
                said = {"role": "persona" if number % 2 else "contact", "text": text, "created_at": at.isoformat()}
                if number % 2:
                    turns.append(_turn(f"{day}-{place}-{number}", at, chance, failed=status == "failed"))
                    said["turn"] = turns[-1]["external_id"]
                messages.append(said)
                at += timedelta(seconds=chance.randint(20, 90))
            session = {
                "status": status, "subject": subject, "tags": tags, "messages": messages, "turns": turns,
                "ended_at": at.isoformat(),
            }  # fmt: skip
            yield {
                "external_id": f"{day}-{place}",
                "contact": f"c{chance.randrange(len(NAMES))}",
                "sessions": [session],
            }


def _turn(name: str, at: datetime, chance: random.Random, *, failed: bool) -> dict[str, Any]:
    first, whole = chance.randint(250, 900), chance.randint(1_000, 5_200)
    return {
        "external_id": name, "status": "failed" if failed else "completed",
        "created_at": (at - timedelta(milliseconds=whole)).isoformat(), "finished_at": at.isoformat(),
        "first_token_ms": first, "error_code": "persona_timeout" if failed else None,
    }  # fmt: skip


ANSWER = (
    "With pleasure. For four passengers a light jet is the best fit: **45 minutes**, from about **€7,900**.\n\n"
    "- a Citation CJ3 from Geneva, ready at 16:00\n- a Phenom 300, at 17:30\n\nShall I ask the operators for quotes?"
)


async def test_pictures(browser: Browser, dashboard: Dashboard, shop: Shop) -> None:
    workspace = shop.workspace = dashboard.workspace
    rename = "update public.{} set name = $2 where workspace_id = $1"
    await workspace.database.execute("update public.workspaces set name = 'Petrel Air' where id = $1", workspace.id)
    await workspace.database.execute(rename.format("spaces"), workspace.id, "Website")
    async with OpenAI() as openai, aiohttp.ClientSession(dashboard.stack.api_url) as client:
        workspace.persona_id = await add_model(workspace, openai.url("stream"))
        await workspace.database.execute(rename.format("personas"), workspace.id, "Concierge")
        owner = await sign_up(client, workspace, dashboard.stack, "owner")
        batch = _batch(datetime.now(UTC).replace(microsecond=0)) | {"persona_id": str(workspace.persona_id)}
        await owner.done("POST", f"/workspaces/{workspace.id}/imports", batch)
        space_id = await workspace.add_space(persona_id=workspace.persona_id, name="Website")
        answers = [(texts[0], texts[1]) for _, _, texts in DIALOGUES[:0:-1]] + [(DIALOGUES[0][2][0], ANSWER)]
        answered = (
            "update public.personas set config = config || jsonb_build_object('base_url', $2::text) where id = $1"
        )
        for place, (message, answer) in enumerate(answers):
            said = b"".join(event(chunk(part)) for part in re.findall(r"\S+\s*", answer))
            url = openai.say(f"answer-{place}", said + event(chunk(finish="stop")) + DONE)
            await workspace.database.execute(answered, workspace.persona_id, url)
            body = {"email": f"guest{GUESTS[place]}@example.com", "message": message}
            headers = {"Accept": "application/json"}
            async with client.post(f"/space/{space_id}/chat/stream", json=body, headers=headers) as response:
                turn = await response.json()
            for query in AGO:
                await workspace.database.execute(query, turn["session_id"], 19 * (len(answers) - 1 - place))
        await owner.done("PUT", f"/chat-sessions/{turn['session_id']}/tags", {"tags": ["charter"]})
        await owner.done("PUT", f"/contacts/{turn['contact_id']}/tags", {"tags": ["frequent flyer"]})
        known = [{"content": "Travels with a small dog."}, {"content": "Prefers to leave after 16:00."}]
        await owner.done("POST", "/memories", {"contact_id": turn["contact_id"], "memories": known})
        await _take(dashboard, browser, turn["session_id"])
        await _take_widget(shop, browser)


GUESTS = (5, 6, 12, 2, 1, 0)
"""Who begins each dialogue, by the place in NAMES."""

AGO = (
    "update public.sessions set created_at = created_at - $2 * interval '1 minute',"
    " last_activity_at = last_activity_at - $2 * interval '1 minute' where id = $1",
    "update public.messages set created_at = created_at - $2 * interval '1 minute' where session_id = $1",
    # The stand-in answers at once.
    "update public.turns set first_token_ms = 600, created_at = created_at - $2 * interval '1 minute' - interval '3 s',"
    " finished_at = finished_at - $2 * interval '1 minute' where session_id = $1",
)
"""Lets a session be so many minutes old."""


PICTURES: tuple[tuple[str, Literal["light", "dark"], int, int], ...] = (
    ("inbox", "light", 1280, 800),
    ("dark", "dark", 1280, 800),
    ("analytics", "dark", 1280, 800),
    ("phone", "light", 390, 844),
)
"""A picture's name, the colours, and the size of the screen."""


async def _take(dashboard: Dashboard, browser: Browser, session_id: str) -> None:
    """All pictures as one member: others who had it open would still be present."""
    context = await browser.new_context()
    member = await dashboard.sign_in(context=context)
    for name, scheme, width, height in PICTURES:
        await member.page.set_viewport_size({"width": width, "height": height})
        await member.page.emulate_media(color_scheme=scheme)
        await member.open("#/analytics" if name == "analytics" else f"#/inbox/{session_id}")
        await member.page.reload()
        await expect(member.page.get_by_role("heading").first).to_be_visible()
        await member.page.wait_for_timeout(1_500)
        await member.page.screenshot(path=IMAGES / f"{name}.png")
    await context.close()


async def _take_widget(shop: Shop, browser: Browser) -> None:
    site = await shop.site(policy="default-src * 'unsafe-inline' data:")
    rename = "update public.spaces set name = 'Petrel Air' where id = $1"
    await shop.workspace.database.execute(rename, site.attributes["data-space"])
    shop.context = await browser.new_context(viewport={"width": 860, "height": 560}, locale="en-GB")
    chat = await shop.chat(site)
    await chat.page.add_style_tag(content="body { font: 18px sans-serif; margin: 2rem 3rem } h1 { font-size: 3rem }")
    texts = (
        "([h1, p]) => { document.querySelector('h1').textContent = h1; document.querySelector('p').textContent = p }"
    )
    await chat.page.evaluate(texts, ["Petrel Air", "Private flights in Europe."])
    await chat.page.evaluate("document.querySelector('a').remove()")
    await chat.say("Hello! Four of us would like to fly from Geneva to Nice next Friday.")
    await chat.answered()
    await chat.page.wait_for_timeout(500)
    await chat.page.screenshot(path=IMAGES / "widget.png")
    await shop.context.close()
