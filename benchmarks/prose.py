"""A job of 1 KB of prose, and its answer of 1 KB: written for this project."""

import json

QUESTION = (
    "The reservoir above the town was finished in the autumn, and for a year nobody thought about "
    "it again. Then came a spring with more rain than anybody remembered. Behind the dam the "
    "water rose by a hand's breadth every day, and the keeper, who had so far only oiled hinges "
    "and counted herons, began to sleep in the gate house. He knew what the engineers had told "
    "him: a dam is not lost because too much water comes, but because it comes over the wrong "
    "place. That is why beside the wall there is a channel of stone, a little lower than the "
    "crest, which stays dry for years and which visitors take for a staircase. On the ninth night "
    "the first thin sheet of water slid into it, without any noise at first. By the morning it "
    "roared, and down in the valley the mills, which had stood still all winter, began to turn. "
    "Summarise the story in three sentences, say what the channel is for, and name one thing the "
    "keeper could have measured to see earlier that it would be needed."
)
ANSWER = (
    "After a year in which nobody gave the new reservoir a thought, an unusually wet spring makes "
    "its level climb day by day, and the keeper moves into the gate house to watch. On the ninth "
    "night the water reaches a dry stone channel at the side of the dam and runs down it, quietly "
    "and then with a roar. The wall holds, and the mills below, idle all winter, start to turn. "
    "The channel is a spillway: it is built lower than the crest, so that water which no longer "
    "fits behind the dam leaves by a way that can bear it and does not wash over the wall, which "
    "could not. The keeper could have measured how fast the level rose, and how fast that rate "
    "itself changed: with the distance that was left to the lip of the channel, it tells in how "
    "many days it will run. Rain gauges further up the valley would have told him sooner still, "
    "because the water needs a day or two from the hills to the reservoir, and the snow on the "
    "slopes, melting later, keeps a second flood in store."
)


def job() -> dict[str, str]:
    """The input of the job."""
    return {"input": QUESTION}


def answer() -> bytes:
    """What the model answers."""
    return json.dumps({"text": ANSWER}, separators=(",", ":")).encode()
