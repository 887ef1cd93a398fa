#!/usr/bin/env python3
"""An OpenAI-compatible server that takes what its kind takes and refuses the rest, field by field, after the published references
(https://platform.openai.com/docs/api-reference/chat/create, https://docs.mistral.ai/api, https://docs.vllm.ai). It prefers the answer that
holds the word "good". Kinds:
  strict     OpenAI: no unknown fields; ignores what an unfinished answer would begin with
  reasoning  OpenAI's reasoning models: max_completion_tokens only, no sampling settings, no log-probabilities, thinks before it answers
  no-logprobs  answers with "logprobs": null
  mistral    FastAPI's 422 with a list for unknown fields (seed, logprobs, ...), and no answer may be unfinished
  limit-5    vLLM with --max-logprobs 5: goes on from an unfinished answer
  thinking   a hybrid model behind vLLM without a reasoning parser: begins with <think> unless chat_template_kwargs says otherwise
  thinker    a model that always thinks; its thoughts come apart, as reasoning_content
  no-model   serves other models than the one asked for
  key        wants a key
  broken     answers HTTP 500 to each second request
  off-format says neither A nor B
"""
import http.server
import json
import math
import sys
import threading
import time

OPENAI = {"model": str, "messages": list, "n": int, "stream": bool, "max_tokens": int, "max_completion_tokens": int, "temperature": (int, float), "top_p": (int, float),
          "seed": int, "logprobs": bool, "top_logprobs": int, "stop": (str, list), "response_format": dict, "reasoning_effort": str, "user": str}
VLLM = {**OPENAI, "add_generation_prompt": bool, "continue_final_message": bool, "chat_template_kwargs": dict, "top_k": int}
MISTRAL = {k: v for k, v in OPENAI.items() if k not in ("seed", "logprobs", "top_logprobs", "max_completion_tokens", "user", "reasoning_effort")}
THOUGHT = "Let me look at both answers. "


class Refused(Exception):
    def __init__(self, status, body):
        self.status, self.body = status, body


def openai_error(message, param=None, code=None):
    return Refused(400, {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}})


def check(kind, body):
    """Raises Refused as a server of this kind does."""
    fields = MISTRAL if kind == "mistral" else OPENAI if kind in ("strict", "reasoning") else VLLM
    unknown = [k for k in body if k not in fields]
    if unknown and kind == "mistral":
        raise Refused(422, {"detail": [{"type": "extra_forbidden", "loc": ["body", k], "msg": "Extra inputs are not permitted", "input": body[k]} for k in unknown]})
    if unknown:
        raise openai_error(f"Unrecognized request argument supplied: {unknown[0]}")
    for name, value in body.items():
        if not isinstance(value, fields[name]) or (isinstance(value, bool) and fields[name] is not bool):
            raise openai_error(f"Invalid type for '{name}'", name, "invalid_type")
    if not body.get("messages") or any(set(m) != {"role", "content"} or m["role"] not in ("system", "user", "assistant") for m in body["messages"]):
        raise openai_error("Invalid value for 'messages'", "messages")
    if "top_logprobs" in body and not body.get("logprobs"):
        raise openai_error("'top_logprobs' needs 'logprobs'", "top_logprobs")
    if not 0 <= body.get("top_logprobs", 0) <= 20 or not 0 <= body.get("temperature", 1) <= 2 or not 0 < body.get("top_p", 1) <= 1:
        raise openai_error("a value is out of range")
    if body.get("add_generation_prompt") and body.get("continue_final_message"):
        raise openai_error("Cannot set both `continue_final_message` and `add_generation_prompt` to True.")
    if kind == "mistral" and body["messages"][-1]["role"] == "assistant":
        raise openai_error("Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant")
    if kind == "limit-5" and body.get("top_logprobs", 0) > 5:
        raise Refused(400, {"object": "error", "message": f"Requested sample logprobs of {body['top_logprobs']}, which is greater than max allowed: 5", "type": "BadRequestError", "param": None, "code": 400})
    if kind == "reasoning":
        if "max_tokens" in body:
            raise openai_error("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", "max_tokens", "unsupported_parameter")
        for name in ("logprobs", "top_logprobs"):
            if name in body:
                raise openai_error(f"Unsupported parameter: '{name}' is not supported with this model.", name, "unsupported_parameter")
        for name in ("temperature", "top_p"):
            if body.get(name, 1) != 1:
                raise openai_error(f"Unsupported value: '{name}' does not support {body[name]} with this model. Only the default (1) value is supported.", name, "unsupported_value")


def words_of(kind, body):
    """The answer as (thoughts, tokens of the text)."""
    asked = [m["content"] for m in body["messages"] if "Answer A:" in m["content"]]
    if not asked:
        return "", ["Hello"]
    first = asked[-1].split("Answer A:")[1].split("Answer B:")[0]
    letter = "A" if "good" in first else "B"
    goes_on = body.get("continue_final_message") or (kind != "strict" and body["messages"][-1]["role"] == "assistant")
    asks_for_letter = "nothing else" in body["messages"][-1]["content"]
    text = [" " + letter] if goes_on else [letter] if asks_for_letter else ["Better", " answer", ":", " " + letter]
    if kind == "off-format":
        text = ["Well", ",", " it", " depends", "."]
    if "Think step by step" in asked[-1] and not goes_on and not asks_for_letter:
        text = ["I", " like", " answer", f" {letter}", ".", "\n"] + text
    thinks = kind in ("reasoning", "thinker") or (kind == "thinking" and body.get("chat_template_kwargs", {}).get("enable_thinking") is not False and not goes_on)
    return (THOUGHT * 4 if thinks else ""), text


def other(letter):
    return letter.replace("A", "#").replace("B", "A").replace("#", "B")


def answer(kind, body):
    check(kind, body)
    thoughts, text = words_of(kind, body)
    limit = body.get("max_completion_tokens", body.get("max_tokens", 1000))
    thought = THOUGHT.split() * 4 if thoughts else []
    cut = len(thought) + len(text) > limit
    shown = text[:max(0, limit - len(thought))]
    message = {"role": "assistant", "content": "".join(shown)}
    if kind == "thinking" and thoughts:
        shown = ["<think>", *(" " + w for w in thought), "</think>", *text][:limit]
        message["content"] = "".join(shown)
    if kind == "thinker":
        message = {"role": "assistant", "content": "".join(shown) or None, "reasoning_content": " ".join(thought[:limit])}
    logprobs = None
    if body.get("logprobs") and kind not in ("no-logprobs", "thinker"):
        logprobs = {"content": []}
        for token in shown:
            top = [{"token": token, "logprob": math.log(0.9), "bytes": list(token.encode())}, {"token": other(token) if token.strip() in "AB" else "The", "logprob": math.log(0.05), "bytes": []}]
            top += [{"token": f" w{i}", "logprob": -9.0 - i, "bytes": []} for i in range(18)]
            logprobs["content"].append({"token": token, "logprob": math.log(0.9), "bytes": [], "top_logprobs": top[:body.get("top_logprobs", 0)]})
    usage = {"prompt_tokens": 100, "completion_tokens": min(limit, len(thought) + len(text)), "total_tokens": 0}
    if kind == "reasoning":
        usage["completion_tokens_details"] = {"reasoning_tokens": min(limit, len(thought))}
    return {"id": "x", "object": "chat.completion", "created": 1, "model": body["model"], "usage": usage,
            "choices": [{"index": 0, "message": message, "finish_reason": "length" if cut else "stop", "logprobs": logprobs}]}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def refuses_all(self):
        if self.server.kind == "key" and not self.headers.get("Authorization"):
            self.reply(401, {"error": {"message": "You didn't provide an API key.", "type": "invalid_request_error", "param": None, "code": None}})
            return True
        if not self.path.startswith("/v1/"):
            self.reply(404, {"detail": "Not Found"})
            return True
        return False

    def do_GET(self):
        if self.refuses_all():
            return
        self.server.looks += 1
        self.reply(200, {"object": "list", "data": [{"id": name, "object": "model"} for name in (["other", "jugde"] if self.server.kind == "no-model" else ["judge"])]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.refuses_all():
            return
        with self.server.lock:
            self.server.bodies.append(body)
            number = len(self.server.bodies)
            self.server.in_flight += 1
            self.server.most_in_flight = max(self.server.most_in_flight, self.server.in_flight)
        time.sleep(self.server.delay)
        with self.server.lock:
            self.server.in_flight -= 1
        if self.server.kind == "no-model" and body["model"] not in ("other", "jugde"):
            return self.reply(404, {"error": {"message": f"The model `{body['model']}` does not exist.", "type": "NotFoundError", "param": "model", "code": 404}})
        if self.server.kind == "broken" and number % 2 == 0:
            return self.reply(500, {"error": {"message": "out of luck"}})
        if any(word in str(body["messages"]) for word in self.server.never):
            return self.reply(503, {"error": {"message": "no worker"}})
        try:
            self.reply(200, answer(self.server.kind, body))
        except Refused as refused:
            self.server.refusals += 1
            self.reply(refused.status, refused.body)


class StrictServer(http.server.ThreadingHTTPServer):
    request_queue_size = 256

    def __init__(self, kind, port=0):
        self.kind, self.bodies, self.refusals, self.looks, self.never = kind, [], 0, 0, []
        self.lock, self.in_flight, self.most_in_flight, self.delay = threading.Lock(), 0, 0, 0.0
        super().__init__(("127.0.0.1", port), Handler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, *_):
        pass


if __name__ == "__main__":
    server = StrictServer(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    print(server.url, flush=True)
    threading.Event().wait()
