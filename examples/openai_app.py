"""A support desk on OpenAI's own client: finds the article that fits a question, and answers.

With `make local` running, and the variables exported that it prints:

    .venv/bin/python examples/openai_app.py "Where is my parcel?"

Nothing here knows of Spillway but the address and the key. Interactive questions get the tier
`priority`, the summary of the day may wait in the background.
"""

import os
import sys
import time

from openai import OpenAI

ARTICLES = (
    "A parcel takes two days. Its number is in the e-mail that we sent with it.",
    "Goods can be sent back within 30 days; the label is in the box.",
    "Bills are paid by card or within 14 days by transfer.",
)
BACKGROUND_S_MAX = 300


def fitting(client: OpenAI, question: str) -> str:
    """The article whose meaning is nearest to the question's."""
    found = client.embeddings.create(model="embedder", input=[question, *ARTICLES])
    asked, *known = (each.embedding for each in found.data)
    scores = [sum(a * b for a, b in zip(asked, each, strict=True)) for each in known]
    return ARTICLES[scores.index(max(scores))]


def answered(client: OpenAI, question: str, article: str) -> str:
    """What the model says to a customer who waits."""
    completion = client.chat.completions.create(
        model="chat",
        messages=[
            {"role": "system", "content": f"Answer from this article alone: {article}"},
            {"role": "user", "content": question},
        ],
        service_tier="priority",
    )
    return completion.choices[0].message.content or ""


def summarized(client: OpenAI, day: str) -> str:
    """What the model makes of a day, when there is room: asked for, then looked for."""
    response = client.responses.create(
        model="chat", input=f"Summarize: {day}", background=True, service_tier="flex"
    )
    until_s = time.monotonic() + BACKGROUND_S_MAX
    while response.status in {"queued", "in_progress"} and time.monotonic() < until_s:
        time.sleep(0.5)
        response = client.responses.retrieve(response.id)
    if response.status != "completed":
        raise SystemExit(f"{response.id} is {response.status}")
    return response.output_text


def main() -> None:
    """Answer the question of the command line."""
    question = " ".join(sys.argv[1:]) or "Where is my parcel?"
    with OpenAI(
        base_url=os.environ["SPILLWAY_URL"] + "/v1", api_key=os.environ["SPILLWAY_API_KEY"]
    ) as client:
        article = fitting(client, question)
        print(f"article: {article}")
        answer = answered(client, question, article)
        print(f"answer:  {answer}")
        print(f"summary: {summarized(client, f'{question} {answer}')}")


if __name__ == "__main__":
    main()
