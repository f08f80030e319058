"""OpenAI's Responses, for models that speak chat completions: one request as the other.

Source:
    OpenAI API reference, "Responses" and "Chat completions".
"""

from collections.abc import Callable, Mapping
from typing import Any

from lambdas.domain.errors import invalid

_DROPPED = frozenset(
    {"include", "truncation", "prompt_cache_key", "prompt_cache_retention", "safety_identifier"}
)
"""Says how OpenAI's own service is to work, and changes no answer."""
_PARTS = {"input_text": "text", "output_text": "text", "text": "text"}


def chat_of(asked: Mapping[str, Any]) -> dict[str, Any]:
    """A Responses request as the body of a chat completion.

    Args:
        asked: The request's body, without what the service acts on.

    Returns:
        The body for the model; fields that Responses do not know are passed on.

    Raises:
        ApiError: 400 for an item, a part or a tool that chat completions have no word for.
    """
    chat: dict[str, Any] = {"messages": _messages(asked)}
    for name, value in asked.items():
        if name in _DROPPED or name in {"input", "instructions"} or value is None:
            continue
        if name in _TRANSLATED:
            chat |= _TRANSLATED[name](value)
        else:
            chat[name] = value
    return chat


def output_of(completion: Mapping[str, Any], tail: str) -> list[dict[str, Any]]:
    """The items of a response, of the first choice of a chat completion.

    Args:
        completion: What the model answered.
        tail: Ends the items' ids, which are unique within a response.
    """
    choices = completion.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else {}
    message = first.get("message") if isinstance(first, dict) else None
    if not isinstance(message, dict):
        return []
    status = "incomplete" if first.get("finish_reason") == "length" else "completed"
    items: list[dict[str, Any]] = []
    thought = message.get("reasoning_content") or message.get("reasoning")
    if isinstance(thought, str):
        part = {"type": "reasoning_text", "text": thought}
        items.append({"id": f"rs_{tail}", "type": "reasoning", "summary": [], "content": [part]})
    content = _said(message)
    if content:
        items.append(
            {
                "id": f"msg_{tail}",
                "type": "message",
                "role": "assistant",
                "status": status,
                "content": content,
            }
        )
    calls = message.get("tool_calls")
    for number, call in enumerate(calls if isinstance(calls, list) else []):
        if isinstance(call, dict) and isinstance(call.get("function"), dict):
            items.append(
                {
                    "id": f"fc_{tail}_{number}",
                    "type": "function_call",
                    "call_id": call.get("id"),
                    "name": call["function"].get("name"),
                    "arguments": call["function"].get("arguments"),
                    "status": status,
                }
            )
    return items


def usage_of(completion: Mapping[str, Any]) -> dict[str, Any] | None:
    """Tokens in the words of Responses; None where the model did not count."""
    usage = completion.get("usage")
    if not isinstance(usage, dict):
        return None
    if "input_tokens" in usage:
        return usage
    before, after = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    read, thought = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    return {
        "input_tokens": before,
        "input_tokens_details": {"cached_tokens": _count(read, "cached_tokens")},
        "output_tokens": after,
        "output_tokens_details": {"reasoning_tokens": _count(thought, "reasoning_tokens")},
        "total_tokens": _count(usage, "total_tokens") or before + after,
    }


def ended_early(completion: Mapping[str, Any]) -> bool:
    """Whether the model stopped at its limit of tokens."""
    choices = completion.get("choices")
    return bool(
        isinstance(choices, list)
        and choices
        and isinstance(choices[0], dict)
        and choices[0].get("finish_reason") == "length"
    )


def _count(counts: object, name: str) -> int:
    number = counts.get(name) if isinstance(counts, dict) else None
    return number if isinstance(number, int) else 0


def _said(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    if isinstance(text := message.get("content"), str) and text:
        parts.append({"type": "output_text", "text": text, "annotations": []})
    if isinstance(refusal := message.get("refusal"), str) and refusal:
        parts.append({"type": "refusal", "refusal": refusal})
    return parts


def _messages(asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    if isinstance(instructions := asked.get("instructions"), str):
        messages.append({"role": "system", "content": instructions})
    given = asked.get("input")
    if isinstance(given, str):
        return [*messages, {"role": "user", "content": given}]
    for item in given or []:
        _add(messages, item)
    return messages


def _add(messages: list[dict[str, Any]], item: Mapping[str, Any]) -> None:
    """Put an input item among the messages; calls belong to the assistant's message before."""
    match item.get("type", "message"):
        case "message" if "role" in item:
            content = _content(item.get("content"))
            messages.append({"role": item["role"], "content": content})
        case "function_call":
            function = {"name": item.get("name"), "arguments": item.get("arguments")}
            call = {"id": item.get("call_id"), "type": "function", "function": function}
            if messages and messages[-1]["role"] == "assistant":
                messages[-1].setdefault("tool_calls", []).append(call)
            else:
                messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        case "function_call_output":
            messages.append(
                {
                    "role": "tool",
                    "tool_call_id": item.get("call_id"),
                    "content": _content(item.get("output")),
                }
            )
        case "reasoning":
            pass  # what a model thought before is not said to it again
        case _:
            raise invalid(
                "input holds an item that this model has no word for; it knows message, "
                "function_call, function_call_output and reasoning.",
                param="input",
            )


def _content(content: object) -> object:
    """A message's content: one text, or parts in the words of chat completions."""
    if not isinstance(content, list):
        return content
    parts = [_part(part) for part in content]
    if all(part["type"] == "text" for part in parts):
        return "".join(str(part["text"]) for part in parts)
    return parts


def _part(part: object) -> dict[str, Any]:
    if isinstance(part, dict):
        kind = part.get("type")
        if kind in _PARTS:
            return {"type": "text", "text": part.get("text")}
        if kind == "refusal":
            return {"type": "text", "text": part.get("refusal")}
        if kind == "input_image" and part.get("image_url"):
            image = {"url": part["image_url"]}
            if part.get("detail"):
                image["detail"] = part["detail"]
            return {"type": "image_url", "image_url": image}
        if kind == "input_audio":
            return dict(part)
    raise invalid(
        "input holds a part that this model has no word for; it knows input_text, output_text, "
        "refusal, input_image with an image_url, and input_audio.",
        param="input",
    )


def _tools(tools: object) -> dict[str, Any]:
    known = []
    for tool in tools if isinstance(tools, list) else [None]:
        if not isinstance(tool, dict) or tool.get("type") != "function":
            raise invalid(
                "tools is an array of functions: nothing else is run here.", param="tools"
            )
        function = {
            name: tool[name]
            for name in ("name", "description", "parameters", "strict")
            if tool.get(name) is not None
        }
        known.append({"type": "function", "function": function})
    return {"tools": known} if known else {}


def _tool_choice(choice: object) -> dict[str, Any]:
    if isinstance(choice, dict) and choice.get("type") == "function":
        return {"tool_choice": {"type": "function", "function": {"name": choice.get("name")}}}
    return {"tool_choice": choice}


def _text(text: object) -> dict[str, Any]:
    """How the answer is to be written."""
    if not isinstance(text, dict):
        raise invalid("text is an object.", param="text")
    written: dict[str, Any] = {}
    form = text.get("format")
    if isinstance(form, dict) and form.get("type") == "json_schema":
        schema = {name: value for name, value in form.items() if name != "type"}
        written["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif form is not None:
        written["response_format"] = form
    if text.get("verbosity") is not None:
        written["verbosity"] = text["verbosity"]
    return written


def _reasoning(reasoning: object) -> dict[str, Any]:
    effort = reasoning.get("effort") if isinstance(reasoning, dict) else None
    return {} if effort is None else {"reasoning_effort": effort}


_TRANSLATED: Mapping[str, Callable[[Any], dict[str, Any]]] = {
    "tools": _tools,
    "tool_choice": _tool_choice,
    "text": _text,
    "reasoning": _reasoning,
    # vLLM, SGLang and TGI all know this name; the newer one not all of them.
    "max_output_tokens": lambda most: {"max_tokens": most},
}
