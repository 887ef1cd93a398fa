#include <cmath>
#include <type_traits>

#include "cai/config/config.hpp"
#include "cai/config/field.hpp"

namespace cai {
namespace {

// What a field accepts: words for a person, and the check behind them.
struct Accepts {
  std::string words;
  std::function<std::string(const FieldValue&)> check;
};

std::string plain(double v) {
  std::string s = std::to_string(v);
  s.erase(s.find_last_not_of('0') + 1);
  if (s.ends_with('.')) s.pop_back();
  return s;
}

Accepts from_to(double low, double high) {
  const std::string words = "a number from " + plain(low) + " to " + plain(high);
  return {words, [=](const FieldValue& v) {
            const double x = std::holds_alternative<long>(v) ? static_cast<double>(std::get<long>(v))
                                                             : std::get<double>(v);
            return std::isfinite(x) && x >= low && x <= high ? std::string() : "out of range";
          }};
}

Accepts one_of(std::vector<std::string> names) {
  std::string words = "one of: ";
  for (const std::string& name : names)
    words += (&name == &names.front() ? "" : ", ") + name;
  return {words, [names](const FieldValue& v) {
            for (const std::string& name : names)
              if (name == std::get<std::string>(v)) return std::string();
            return std::string("not known");
          }};
}

Accepts anything(const std::string& words) {
  return {words, [](const FieldValue&) { return std::string(); }};
}

Accepts text() {
  return anything("a text");
}
Accepts device() {
  return {"auto, cpu, cuda or cuda:N", [](const FieldValue& v) {
            const std::string& name = std::get<std::string>(v);
            const bool is_numbered = name.starts_with("cuda:") && name.size() > 5 && name.size() < 8 &&
                                     name.find_first_not_of("0123456789", 5) == name.npos;
            return name == "auto" || name == "cpu" || name == "cuda" || is_numbered
                       ? std::string()
                       : std::string("not known");
          }};
}
// A key that was typed here by mistake must not reach config.yaml; most hold a dash or small letters only.
Accepts variable_name() {
  return {"the name of an environment variable (capitals, digits, _), not the key itself",
          [](const FieldValue& v) {
            const std::string& name = std::get<std::string>(v);
            const bool is_one = !name.empty() && name.size() <= 64 &&
                                name.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == name.npos;
            return is_one ? std::string() : std::string("no such name");
          }};
}

Accepts url() {
  return {
      "a URL without user name and password; the key comes from endpoint.key_variable or endpoint.key_file",
      [](const FieldValue& v) {
        const std::string& text = std::get<std::string>(v);
        return text.find("://") != text.npos && text.find('@') != text.npos ? std::string("no such URL")
                                                                            : std::string();
      }};
}

Accepts urls() {
  const Accepts one = url();
  return {"a list of URLs without user names and passwords", [one](const FieldValue& v) {
            for (const std::string& text : std::get<std::vector<std::string>>(v))
              if (const std::string wrong = one.check(text); !wrong.empty()) return wrong;
            return std::string();
          }};
}

Accepts json_object() {
  return anything("a map of fields, e.g. {reasoning_effort: low}");
}

Accepts yes_no() {
  return anything("true or false");
}

// Of fields whose value is no part of keys: how fast, from where, at what price; names of files whose content
// counts instead.
constexpr bool kNoEffect = false;

struct Declared {
  std::vector<Field> fields;
  std::string section;

  // `member` gives a reference to the value inside a Config; its default is the struct's own initialiser.
  template <class Member>
  void add(const std::string& name, Member member, Accepts accepts, const std::string& help,
           bool affects_result = true) {
    using T = std::remove_reference_t<decltype(member(std::declval<Config&>()))>;
    Config defaults;
    fields.push_back({section, name, help, accepts.words, FieldValue(member(defaults)),
                      [member](Config& c, const FieldValue& v) { member(c) = std::get<T>(v); },
                      [member](const Config& c) { return FieldValue(member(const_cast<Config&>(c))); },
                      accepts.check});
    fields.back().affects_result = affects_result;
  }

  template <class Optimiser>
  void optimiser(Optimiser of) {
    add(
        "learning_rate", [of](Config& c) -> double& { return of(c).learning_rate; }, from_to(0, 1),
        "Peak learning rate of AdamW.");
    add(
        "weight_decay", [of](Config& c) -> double& { return of(c).weight_decay; }, from_to(0, 1),
        "Decoupled weight decay.");
    add(
        "max_gradient_norm", [of](Config& c) -> double& { return of(c).max_gradient_norm; }, from_to(0, 1000),
        "Gradients are clipped to this norm; 0: no clipping.");
    add(
        "warmup_ratio", [of](Config& c) -> double& { return of(c).warmup_ratio; }, from_to(0, 1),
        "Share of the steps in which the learning rate rises from 0.");
    add(
        "schedule", [of](Config& c) -> std::string& { return of(c).schedule; },
        one_of({"linear", "constant", "cosine"}), "How the learning rate falls after the warm-up.");
    add(
        "trainable_layers", [of](Config& c) -> long& { return of(c).trainable_layers; }, from_to(0, 1000),
        "Top layers that are trained, with the final norm; 0: all weights.");
    add(
        "checkpoint_seconds", [of](Config& c) -> double& { return of(c).checkpoint_seconds; },
        from_to(0, 86400),
        "Longest time between two saves of the training state; 0: after every step. Does not change the "
        "result.",
        kNoEffect);
    add(
        "lora.rank", [of](Config& c) -> long& { return of(c).lora.rank; }, from_to(0, 4096),
        "Rank of a LoRA adapter that is trained in place of the weights, merged into them at the end and "
        "saved in adapter/ as PEFT has it. 0: none.");
    add(
        "lora.alpha", [of](Config& c) -> double& { return of(c).lora.alpha; }, from_to(0, 1e5),
        "What the adapter adds is scaled by alpha / rank. 0: twice the rank.");
    add(
        "lora.layers", [of](Config& c) -> long& { return of(c).lora.layers; }, from_to(0, 1000),
        "Top layers that get an adapter, instead of trainable_layers; 0: all.");
    add(
        "lora.targets", [of](Config& c) -> std::string& { return of(c).lora.targets; },
        one_of({"all", "attention", "mlp"}),
        "Matrices of a layer that get an adapter. attention: q, k, v, o. mlp: gate, up, down.");
    for (Field& field : fields)
      if (field.section == section && field.name.starts_with("lora."))
        field.matters = [of](const Config& c) { return of(const_cast<Config&>(c)).lora.rank > 0; };
  }
};

#define AT(path)            \
  [](Config & c) -> auto& { \
    return c.path;          \
  }

std::vector<Field> declare() {
  Declared d;
  d.section = "";
  d.add("constitution", AT(constitution), text(), "Constitution file (YAML).");
  d.fields.back().is_path = true;
  d.add("model", AT(model), text(),
        "A packaged model (smollm2, qwen2.5-coder-0.5b, qwen2.5-coder-1.5b), an HF folder, a GGUF file or a "
        "run.");
  d.add("feedback", AT(feedback), url(),
        "Who criticises, revises and labels: self (the policy), a model as for `model`, or a server's URL.");
  d.add("out", AT(out), text(), "Run folder; empty: runs/<constitution>-NN.");
  d.add("seed", AT(seed), from_to(0, 1e15), "Seed of every random draw in the run.");
  d.add("iterations", AT(iterations), from_to(1, 100),
        "Rounds of the whole loop; each starts from the last round's policy.");
  d.add("method", AT(method), one_of({"ppo", "dpo"}),
        "How the policy learns from the labels: ppo (a reward model, then reinforcement learning) or dpo "
        "(directly).");
  d.section = "engine";
  d.add("device", AT(engine.device), device(),
        "Where models compute. auto is the first CUDA device where torch finds one, else the CPU. Stages of "
        "one device are not taken over by another.",
        kNoEffect);
  d.add("dtype", AT(engine.dtype), one_of({"auto", "float32", "bfloat16", "int8"}),
        "Arithmetic of generation and scoring. auto picks what the CPU has instructions for: int8 for "
        "weights that it represents exactly (Q4_0, Q4_1, Q8_0), else bfloat16, else float32. Training never "
        "uses int8.");
  d.add("max_sequences", AT(engine.max_sequences), from_to(1, 4096),
        "Sequences generated at once; does not change their text.", kNoEffect);
  d.add("threads", AT(engine.threads), from_to(0, 1024), "Threads; 0: all cores.", kNoEffect);
  d.section = "prompts";
  d.add("files", AT(prompts.files), anything("a list of files"),
        "Prompt files (JSON, JSONL, CSV, TSV, text, Parquet); empty: the shipped sets.", kNoEffect);
  d.fields.back().is_path = true;
  d.add("red_team", AT(prompts.red_team), from_to(0, 1e7), "Most red-team training prompts to use.");
  d.add("ordinary", AT(prompts.ordinary), from_to(0, 1e7), "Most ordinary training prompts to use.");
  d.add("borderline", AT(prompts.borderline), from_to(0, 1e7),
        "Most borderline training prompts to use: harmless, but they sound unsafe.");
  d.add("expand", AT(prompts.expand), from_to(0, 1e7), "Prompts to add by few-shot generation.");
  d.add("near_duplicate", AT(prompts.near_duplicate), from_to(0, 1),
        "Jaccard similarity of word 3-grams above which a prompt is dropped as a duplicate.");
  d.add("wrapped", AT(prompts.wrapped), from_to(0, 1),
        "Share of the training prompts of each kind that are asked a second time in the words of a wrapper "
        "(a story, a quiz, a second question): what is to be declined stays so however it is asked.");
  d.add("wrappers", AT(prompts.wrappers), anything("a list of names of suites and JSONL files"),
        "The wrappers: files of attacks with {request}, none of which evaluation may use.", kNoEffect);
  d.section = "generate";
  d.add("max_new_tokens", AT(generate.max_new_tokens), from_to(1, 1e6), "Longest answer, in tokens.");
  d.add("temperature", AT(generate.temperature), from_to(0, 10), "Sampling temperature; 0: greedy.");
  d.add("top_p", AT(generate.top_p), from_to(0.01, 1), "Nucleus sampling; 1: off.");
  d.section = "critique";
  d.add("max_new_tokens", AT(critique.max_new_tokens), from_to(1, 1e6), "Longest critique, in tokens.");
  d.add("temperature", AT(critique.temperature), from_to(0, 10), "Sampling temperature; 0: greedy.");
  d.add("examples", AT(critique.examples), from_to(0, 20), "Most few-shot examples from the constitution.");
  d.add("harmless", AT(critique.harmless), yes_no(),
        "Also criticise answers to ordinary and borderline prompts; the paper does not.");
  d.add("principle", AT(critique.principle), one_of({"auto", "ask", "draw"}),
        "Which of the principles with the most specific tag an answer is criticised under; one whose check "
        "is broken comes first. ask: the critic says which one the answer violates. draw: at random, as in "
        "the paper. auto: ask if `feedback` names a model, else draw.");
  d.section = "revise";
  d.add("rounds", AT(revise.rounds), from_to(0, 20), "Rounds of critique and revision; 0: none.");
  d.add("max_new_tokens", AT(revise.max_new_tokens), from_to(1, 1e6), "Longest revision, in tokens.");
  d.add("temperature", AT(revise.temperature), from_to(0, 10), "Sampling temperature; 0: greedy.");
  d.add("examples", AT(revise.examples), from_to(0, 20), "Most few-shot examples from the constitution.");
  d.add("openings", AT(revise.openings), yes_no(), "Begin revisions with one of the principle's openings.");
  d.add("tries", AT(revise.tries), from_to(1, 64),
        "Revisions sampled per answer; the one that follows the principles best is kept.");
  d.add("judge", AT(revise.judge), one_of({"auto", "yes", "no"}),
        "Keep a revision under a principle without a check only if the model that wrote it prefers it to the "
        "answer, asked in both orders. auto: yes if `feedback` names a model.");
  d.section = "sft";
  d.optimiser(AT(sft.optimiser));
  d.add("epochs", AT(sft.epochs), from_to(0, 1000), "Passes over the examples.");
  d.add("batch_size", AT(sft.batch_size), from_to(1, 1e5), "Examples per step.");
  d.add("max_tokens", AT(sft.max_tokens), from_to(8, 1e6), "Longer examples are left out and counted.");
  d.add("revisions", AT(sft.revisions), one_of({"last", "all"}),
        "Train on the last round's revisions, or on all rounds'.");
  d.add("unrevised", AT(sft.unrevised), one_of({"distribution", "tokens", "none"}),
        "How answers to ordinary and borderline prompts are used. distribution: keep the original next-token "
        "distribution (KL loss). tokens: learn the answer's tokens, for answers that another model wrote. "
        "none: not used.");
  d.add("judge_turns", AT(sft.judge_turns), from_to(0, 1e6),
        "Most examples that teach the model to judge, made from the run's records and people's pairs "
        "(hybrid.pairs); 0: none.");
  d.add("held_out", AT(sft.held_out), from_to(0, 0.5), "Share of the examples kept for the held-out loss.");
  d.add(
      "decision_weight", AT(sft.decision_weight), from_to(0, 1000),
      "Weight of the decision loss: whether the answer refuses, read from its first tokens. 0 disables it.");
  d.add("answering_weight", AT(sft.answering_weight), from_to(0.01, 1000),
        "Relative weight of 'answer' versus 'refuse' examples in the decision loss. Higher: fewer refusals, "
        "of harmful requests too.");
  d.add("before_share", AT(sft.before_share), from_to(0, 0.99),
        "Interpolate the fine-tuned weights this far back to the original (WiSE-FT). Higher keeps more of "
        "the original model. Only where some examples refuse and others answer.");
  d.section = "candidates";
  d.add("per_prompt", AT(candidates.per_prompt), from_to(2, 64), "Answers per prompt (K).");
  d.add("plain", AT(candidates.plain), from_to(0, 64),
        "With contrast: further answers per prompt without an instruction, compared where they differ in "
        "refusing.");
  d.add("max_new_tokens", AT(candidates.max_new_tokens), from_to(1, 1e6), "Longest answer, in tokens.");
  d.add("temperature", AT(candidates.temperature), from_to(0.01, 10), "Sampling temperature.");
  d.add("prompts", AT(candidates.prompts), from_to(1, 1e7),
        "Most prompts to use, in proportion of their kinds.");
  d.section = "label";
  d.add("feedback", AT(label.feedback), url(),
        "Judge that labels, whatever its exam says: self, a model or a server's URL. Empty: the run's "
        "`feedback`, as label.method decides.");
  d.fields.back().is_model = true;
  d.add("method", AT(label.method), one_of({"auto", "choice", "contrast"}),
        "choice: the judge chooses (A) or (B), by log-probability. contrast: by the prompt's kind and how "
        "the answers were asked for. auto: choice if label.feedback names a judge, if the judge passes its "
        "exam, or if no prompt has a kind; else contrast. Principles with a check are decided by the check.");
  d.add("chain_of_thought", AT(label.chain_of_thought), yes_no(),
        "Let the judge reason in words before it chooses.");
  d.add("clamp_low", AT(label.clamp_low), from_to(0, 0.5), "Lowest probability of a chain-of-thought label.");
  d.add("clamp_high", AT(label.clamp_high), from_to(0.5, 1),
        "Highest probability of a chain-of-thought label.");
  d.add("principles", AT(label.principles), from_to(1, 100),
        "Principles asked about each pair; their log-odds are averaged by weight.");
  d.add("examples", AT(label.examples), from_to(0, 20), "Most few-shot examples from the constitution.");
  d.add("max_reason_tokens", AT(label.max_reason_tokens), from_to(1, 1e6), "Longest reason, in tokens.");
  d.add("minimum_margin", AT(label.minimum_margin), from_to(0, 0.5),
        "A label closer to 0.5 than this is a tie: kept and counted, not trained on.");
  d.add("minimum_mass", AT(label.minimum_mass), from_to(0, 1),
        "A verdict with less probability than this on A and B together is discarded (\"off format\").");
  d.add("exam_pairs", AT(label.exam_pairs), anything("a list of files"),
        "Files of human preference pairs that the exam asks too, at most 200 (docs/guides/judges.md).",
        kNoEffect);
  d.fields.back().is_path = true;
  d.add("exam_margin", AT(label.exam_margin), from_to(0, 0.5),
        "auto takes choice only if the lower bound of each part of the exam is this far above chance.");
  d.section = "endpoint";
  d.add("url", AT(endpoint.url), url(), "Base URL of an OpenAI-compatible endpoint.", kNoEffect);
  d.add("urls", AT(endpoint.urls), urls(),
        "Base URLs of more servers of the same model; requests are spread over all.", kNoEffect);
  d.add("model", AT(endpoint.model), text(), "Model name to ask for.");
  d.add("key_variable", AT(endpoint.key_variable), variable_name(),
        "Environment variable that holds the key.", kNoEffect);
  d.add("key_file", AT(endpoint.key_file), text(), "File that holds the key; overrides key_variable.",
        kNoEffect);
  d.add("ca_file", AT(endpoint.ca_file), text(),
        "Certificate of the authority that signed the server's; empty: those of the system.", kNoEffect);
  d.add("concurrency", AT(endpoint.concurrency), from_to(1, 256), "Requests in flight at once.", kNoEffect);
  d.add("timeout_seconds", AT(endpoint.timeout_seconds), from_to(0.1, 3600), "Longest wait for one answer.",
        kNoEffect);
  d.add("retries", AT(endpoint.retries), from_to(0, 100), "Tries after the first one.", kNoEffect);
  d.add("first_wait_seconds", AT(endpoint.first_wait_seconds), from_to(0, 3600),
        "Longest wait before the second try; doubles with each further one.", kNoEffect);
  d.add("longest_wait_seconds", AT(endpoint.longest_wait_seconds), from_to(0, 3600),
        "Longest wait between two tries, even if the server asks for more.", kNoEffect);
  d.add("max_tokens_total", AT(endpoint.max_tokens_total), from_to(0, 1e12),
        "Token budget of one call of the program; it stops with code 75 when spent. 0: no limit.", kNoEffect);
  d.add("max_cost", AT(endpoint.max_cost), from_to(0, 1e12),
        "Money budget of one call, by the prices below; it stops with code 75 when spent. 0: no limit.",
        kNoEffect);
  d.add("price_prompt", AT(endpoint.price_prompt), from_to(0, 1e6), "Price of a million tokens sent.",
        kNoEffect);
  d.add("price_answer", AT(endpoint.price_answer), from_to(0, 1e6), "Price of a million tokens answered.",
        kNoEffect);
  d.add("max_seconds", AT(endpoint.max_seconds), from_to(0, 1e9),
        "Time budget of one call; it stops with code 75 when spent. 0: no limit.", kNoEffect);
  d.add("prefill", AT(endpoint.prefill), one_of({"auto", "yes", "no"}),
        "Send the first words of the answer as an unfinished message (vLLM, llama.cpp). auto: until the "
        "server shows that it cannot.");
  d.add("extra", AT(endpoint.extra), json_object(), "Extra fields of each request; null removes a field.");
  d.fields.back().is_map = true;
  d.add("thinking", AT(endpoint.thinking), one_of({"auto", "off", "on"}),
        "Models that think before they answer. off: ask them not to. on: give them room. auto: try off, then "
        "on.");
  d.add("thinking_tokens", AT(endpoint.thinking_tokens), from_to(1, 1e6),
        "Tokens for thinking, in addition to the answer's.");
  d.add("samples", AT(endpoint.samples), from_to(1, 1000),
        "Replies sampled per verdict where the server gives no log-probabilities.");
  d.add("failed", AT(endpoint.failed), one_of({"again", "skip"}),
        "Questions without an answer after all tries. again: stop, and ask them again next time. skip: leave "
        "them out.");
  d.section = "reward";
  d.optimiser(AT(reward.optimiser));
  d.add("head_learning_rate", AT(reward.head_learning_rate), from_to(0, 1),
        "Peak learning rate of the scalar head.");
  d.add("epochs", AT(reward.epochs), from_to(0, 1000), "Passes over the pairs.");
  d.add("batch_size", AT(reward.batch_size), from_to(1, 1e5), "Pairs per step.");
  d.add("held_out", AT(reward.held_out), from_to(0, 0.5), "Share of the pairs kept for measuring.");
  d.add("layers", AT(reward.layers), from_to(0, 1000),
        "Lower layers of the policy that the reward model keeps, with its head on the last of them; 0: all.");
  d.section = "hybrid";
  d.add("pairs", AT(hybrid.pairs), anything("a list of files"),
        "Files of human preference pairs that join the reward model's training "
        "(docs/guides/human-feedback.md).",
        kNoEffect);
  d.fields.back().is_path = true;
  d.add(
      "decisions", AT(hybrid.decisions), anything("a list of runs or files"),
      "Runs or files with people's decisions (cai review); they override the AI's labels on the same pairs.",
      kNoEffect);
  d.fields.back().is_path = true;
  d.add("weight", AT(hybrid.weight), from_to(0.01, 1000),
        "Weight of a person's decision in the reward model's loss; an AI label weighs 1.");
  d.add("share", AT(hybrid.share), from_to(0, 1),
        "Largest share of the reward model's training pairs that comes from hybrid.pairs.");
  d.section = "ppo";
  d.optimiser(AT(ppo.optimiser));
  d.add("value_learning_rate", AT(ppo.value_learning_rate), from_to(0, 1),
        "Peak learning rate of the value model.");
  d.add("epsilon", AT(ppo.epsilon), from_to(0, 1),
        "Adam's epsilon of policy and value model; 0: 1e-5 below 100 million trainable weights, else 1e-8.");
  d.add("advantage", AT(ppo.advantage), one_of({"gae", "rloo", "grpo"}),
        "Advantage estimate; rloo and grpo need samples_per_prompt above 1.");
  d.add(
      "updates", AT(ppo.updates), from_to(0, 1e6),
      "Updates: sample answers, then learn from them. 0: no reinforcement learning. Where it is not set and "
      "checks give the whole reward, 40.");
  d.add("prompts_per_update", AT(ppo.prompts_per_update), from_to(1, 1e5), "Prompts per update.");
  d.add("samples_per_prompt", AT(ppo.samples_per_prompt), from_to(1, 256), "Answers per prompt and update.");
  d.add("max_new_tokens", AT(ppo.max_new_tokens), from_to(1, 1e6), "Longest answer, in tokens.");
  d.add("temperature", AT(ppo.temperature), from_to(0.05, 10),
        "Sampling temperature; log-probabilities are divided by it too.");
  d.add("kl_coefficient", AT(ppo.kl_coefficient), from_to(0, 10),
        "Coefficient of the per-token KL penalty to the reference: in the reward, or in the loss with "
        "ppo.advantage grpo.");
  d.add("divergence_weight", AT(ppo.divergence_weight), from_to(0, 100),
        "Coefficient of KL(reference || policy) over whole next-token distributions in the loss, on red-team "
        "prompts. 0 disables it.");
  d.add("harmless_divergence_weight", AT(ppo.harmless_divergence_weight), from_to(0, 100),
        "The same on other prompts, where little should change.");
  d.add("divergence_direction", AT(ppo.divergence_direction), one_of({"forward", "reverse"}),
        "forward: KL(reference || policy), which keeps all that the reference says. reverse: KL(policy || "
        "reference), which may drop some of it.");
  d.add("divergence_mean", AT(ppo.divergence_mean), one_of({"tokens", "kind"}),
        "tokens: average the divergence over all answer tokens of a step. kind: average over red-team and "
        "other prompts separately.");
  d.add("reward", AT(ppo.reward), one_of({"auto", "model", "checks", "rule"}),
        "model: the reward model's score. checks: how many principles with a check the answer follows. auto: "
        "checks for the principles that have one, the reward model for the others, by weight. rule: 1 where "
        "refusing agrees with the prompt's kind, else -1, as a control.");
  d.add("adaptive_kl", AT(ppo.adaptive_kl), yes_no(), "Adapt the KL coefficient towards kl_target.");
  d.add("kl_target", AT(ppo.kl_target), from_to(0.01, 1000), "Target KL, in nats per answer.");
  d.add("kl_horizon", AT(ppo.kl_horizon), from_to(1, 1e9), "Episodes over which the coefficient adapts.");
  d.add("clip_ratio", AT(ppo.clip_ratio), from_to(0.001, 10), "Clip range of the probability ratio.");
  d.add("clip_value", AT(ppo.clip_value), from_to(0.001, 1000), "Clip range of the value update.");
  d.add("gamma", AT(ppo.gamma), from_to(0, 1), "Discount factor.");
  d.add("lambda", AT(ppo.lambda), from_to(0, 1), "Lambda of generalised advantage estimation.");
  d.add("epochs", AT(ppo.epochs), from_to(1, 100), "Passes over the answers of each update.");
  d.add("minibatches", AT(ppo.minibatches), from_to(1, 1000), "Optimiser steps per pass.");
  d.add("critic_warmup", AT(ppo.critic_warmup), from_to(0, 1000),
        "First updates in which only the value model learns.");
  d.add("whiten_rewards", AT(ppo.whiten_rewards), yes_no(),
        "Scale the rewards to unit variance, the mean kept; with ppo.advantage gae only.");
  d.add("missing_stop_penalty", AT(ppo.missing_stop_penalty), from_to(0, 100),
        "Subtracted from the score of an answer cut by max_new_tokens.");
  d.add("reward_clip", AT(ppo.reward_clip), from_to(0.1, 1000),
        "Scores are clipped to this range, in both directions.");
  d.add("stop_epochs_at_kl", AT(ppo.stop_epochs_at_kl), from_to(0.0001, 100),
        "Approximate KL from the old to the new policy at which an update's passes end.");
  d.add("max_kl", AT(ppo.max_kl), from_to(0.1, 10000),
        "KL to the reference, in nats per answer, at which training stops.");
  d.section = "dpo";
  d.optimiser(AT(dpo.optimiser));
  d.add("beta", AT(dpo.beta), from_to(0.0001, 100),
        "Strength of the pull towards the reference; lower moves further away from it.");
  d.add("epochs", AT(dpo.epochs), from_to(0, 1000), "Passes over the pairs.");
  d.add("batch_size", AT(dpo.batch_size), from_to(1, 1e5), "Pairs per step.");
  d.add("held_out", AT(dpo.held_out), from_to(0, 0.5), "Share of the pairs kept for measuring.");
  d.section = "eval";
  d.add("red_team", AT(eval.red_team), from_to(0, 1e6), "Most held-out red-team prompts to ask.");
  d.add("ordinary", AT(eval.ordinary), from_to(0, 1e6), "Most held-out ordinary prompts to ask.");
  d.add("borderline", AT(eval.borderline), from_to(0, 1e6), "Most held-out borderline prompts to ask.");
  d.add("max_new_tokens", AT(eval.max_new_tokens), from_to(1, 1e6), "Longest answer, in tokens.");
  d.add("temperature", AT(eval.temperature), from_to(0, 10), "Sampling temperature; 0: greedy.");
  d.add("bootstrap_samples", AT(eval.bootstrap_samples), from_to(100, 1e6),
        "Bootstrap resamples per interval.");
  d.add("suites", AT(eval.suites), anything("a list of adversarial, framing, capability and JSONL files"),
        "Extra tests beside plain prompts (docs/concepts/metrics-and-statistics.md).", kNoEffect);
  d.add("suite_prompts", AT(eval.suite_prompts), from_to(0, 1e6),
        "Most prompts of a kind for each attack and framing.");
  d.add("judge", AT(eval.judge), url(),
        "Who compares held-out answers with the first model's, under each principle without a check and for "
        "helpfulness: a model, or an endpoint's URL; best one that gave no feedback. Empty: nobody.");
  d.fields.back().is_model = true;
  d.add("gates", AT(eval.gates), anything("a list of conditions"),
        "Conditions on the last model, e.g. over_refusal <= base + 5pt; exit code 100 when one fails.",
        kNoEffect);
  d.section = "report";
  d.add("examples", AT(report.examples), from_to(0, 1000), "Examples shown in the report.");
  return d.fields;
}

}  // namespace

const std::vector<Field>& config_fields() {
  static const std::vector<Field> fields = declare();
  return fields;
}

}  // namespace cai
