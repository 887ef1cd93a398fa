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

struct Declared {
  std::vector<Field> fields;
  std::string section;

  // `member` gives a reference to the value inside a Config; its default is the struct's own initialiser.
  template <class Member>
  void add(const std::string& name, Member member, Accepts accepts, const std::string& help) {
    using T = std::remove_reference_t<decltype(member(std::declval<Config&>()))>;
    Config defaults;
    fields.push_back({section, name, help, accepts.words, FieldValue(member(defaults)),
                      [member](Config& c, const FieldValue& v) { member(c) = std::get<T>(v); },
                      [member](const Config& c) { return FieldValue(member(const_cast<Config&>(c))); },
                      accepts.check});
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
        "Gradients are scaled down to this norm; 0: never.");
    add(
        "warmup_ratio", [of](Config& c) -> double& { return of(c).warmup_ratio; }, from_to(0, 1),
        "Share of the steps in which the rate rises from 0.");
    add(
        "schedule", [of](Config& c) -> std::string& { return of(c).schedule; },
        one_of({"linear", "constant", "cosine"}), "How the rate falls after the warm-up.");
    add(
        "trainable_layers", [of](Config& c) -> long& { return of(c).trainable_layers; }, from_to(0, 1000),
        "Top layers that learn (with the final norm); 0: everything.");
    add(
        "checkpoint_seconds", [of](Config& c) -> double& { return of(c).checkpoint_seconds; },
        from_to(0, 86400),
        "The training state is saved at least this often, 0: after every step; no effect on the result.");
  }
};

#define AT(path)            \
  [](Config & c) -> auto& { \
    return c.path;          \
  }

std::vector<Field> declare() {
  Declared d;
  d.section = "";
  d.add("constitution", AT(constitution), text(), "The constitution's YAML file.");
  d.add("model", AT(model), text(),
        "A packaged model (smollm2, qwen2.5-coder-0.5b, qwen2.5-coder-1.5b), an HF folder or a GGUF file.");
  d.add(
      "feedback", AT(feedback), url(),
      "Who criticises, revises and labels: self (the policy), a model as for `model`, or an endpoint's URL.");
  d.add("out", AT(out), text(), "The run folder; empty: runs/<constitution>-NN.");
  d.add("seed", AT(seed), from_to(0, 1e15), "Every draw of the run follows from it.");
  d.add("iterations", AT(iterations), from_to(1, 100),
        "Rounds of the whole loop, each from the last one's policy.");
  d.add("method", AT(method), one_of({"ppo", "dpo"}),
        "How the policy learns from the labels: ppo (a reward model, then reinforcement learning) or dpo "
        "(directly).");
  d.section = "engine";
  d.add("dtype", AT(engine.dtype), one_of({"auto", "float32", "bfloat16", "int8"}),
        "Products of generation and scoring; auto, as the CPU has instructions for it: int8 for weights that "
        "it keeps exactly (Q4_0, Q4_1, Q8_0; not where tiles of bfloat16 are faster), else bfloat16, else "
        "float32. Training has no int8.");
  d.add("max_sequences", AT(engine.max_sequences), from_to(1, 4096),
        "Sequences generated at once; no effect on their text.");
  d.add("threads", AT(engine.threads), from_to(0, 1024), "Threads; 0: all cores.");
  d.section = "prompts";
  d.add("files", AT(prompts.files), anything("a list of files"),
        "Prompt files (JSONL, TSV, text); empty: the shipped sets.");
  d.add("red_team", AT(prompts.red_team), from_to(0, 1e7), "Red-team training prompts drawn, at most.");
  d.add("ordinary", AT(prompts.ordinary), from_to(0, 1e7), "Ordinary training prompts drawn, at most.");
  d.add("borderline", AT(prompts.borderline), from_to(0, 1e7),
        "Harmless prompts that sound unsafe, drawn at most.");
  d.add("expand", AT(prompts.expand), from_to(0, 1e7), "Prompts to add by few-shot generation.");
  d.add("near_duplicate", AT(prompts.near_duplicate), from_to(0, 1),
        "Jaccard similarity of word 3-grams above which a prompt is dropped.");
  d.section = "generate";
  d.add("max_new_tokens", AT(generate.max_new_tokens), from_to(1, 1e6), "Longest answer, in tokens.");
  d.add("temperature", AT(generate.temperature), from_to(0, 10), "Sampling temperature; 0: greedy.");
  d.add("top_p", AT(generate.top_p), from_to(0.01, 1), "Nucleus sampling; 1: off.");
  d.section = "critique";
  d.add("max_new_tokens", AT(critique.max_new_tokens), from_to(1, 1e6), "Longest critique, in tokens.");
  d.add("temperature", AT(critique.temperature), from_to(0, 10), "Sampling temperature; 0: greedy.");
  d.add("examples", AT(critique.examples), from_to(0, 20),
        "Few-shot exemplars from the constitution, at most.");
  d.add("harmless", AT(critique.harmless), yes_no(),
        "Criticise answers to ordinary and borderline prompts too; the paper keeps them as they are.");
  d.add(
      "principle", AT(critique.principle), one_of({"auto", "ask", "draw"}),
      "Which principle an answer is criticised under, of those with the most specific tag: ask (the critic "
      "is asked which one the request touches), draw (by seed, as in the paper); auto: ask where `feedback` "
      "names a model. A principle whose check the answer breaks goes first.");
  d.section = "revise";
  d.add("rounds", AT(revise.rounds), from_to(0, 20), "Rounds of critique and revision (R); 0: none.");
  d.add("max_new_tokens", AT(revise.max_new_tokens), from_to(1, 1e6), "Longest revision, in tokens.");
  d.add("temperature", AT(revise.temperature), from_to(0, 10), "Sampling temperature; 0: greedy.");
  d.add("examples", AT(revise.examples), from_to(0, 20),
        "Few-shot exemplars from the constitution, at most.");
  d.add("openings", AT(revise.openings), yes_no(), "Start a revision with one of its principle's openings.");
  d.add("tries", AT(revise.tries), from_to(1, 64),
        "Revisions written of each answer; the one that follows the principles best is kept.");
  d.add("judge", AT(revise.judge), one_of({"auto", "yes", "no"}),
        "Keep a revision under a principle without a check only where the model that wrote it prefers it to "
        "the "
        "answer, asked in both orders; auto: yes where `feedback` names a model.");
  d.section = "sft";
  d.optimiser(AT(sft.optimiser));
  d.add("epochs", AT(sft.epochs), from_to(0, 1000), "Passes over the examples.");
  d.add("batch_size", AT(sft.batch_size), from_to(1, 1e5), "Examples a step.");
  d.add("max_tokens", AT(sft.max_tokens), from_to(8, 1e6), "Longer examples are left out and counted.");
  d.add("revisions", AT(sft.revisions), one_of({"last", "all"}),
        "Train on the last round's revisions, or on all rounds'.");
  d.add("unrevised", AT(sft.unrevised), one_of({"distribution", "tokens", "none"}),
        "What answers to ordinary and borderline prompts teach: distribution (to say of each next token what "
        "was said before), tokens (the answer's own; for answers that somebody else wrote), none.");
  d.add("judge_turns", AT(sft.judge_turns), from_to(0, 1e6),
        "Turns that teach the model to judge, with answers known by the way they were made or from people "
        "(hybrid.pairs), at most; 0: none.");
  d.add("held_out", AT(sft.held_out), from_to(0, 0.5), "Share of the examples kept for the held-out loss.");
  d.add("decision_weight", AT(sft.decision_weight), from_to(0, 1000),
        "Weight of the loss on whether an answer declines, read off its first tokens, beside the loss on all "
        "of its tokens; 0: none.");
  d.add("answering_weight", AT(sft.answering_weight), from_to(0.01, 1000),
        "In that loss, what all decisions to answer weigh together beside all decisions to decline. Higher: "
        "the model declines less, harmful requests too.");
  d.add("before_share", AT(sft.before_share), from_to(0, 0.99),
        "Share of the weights from before training in the weights that come out (their mean, after the last "
        "step). Higher: less is learned, less of what the model could do is lost. Only where some examples "
        "decline and others answer.");
  d.section = "candidates";
  d.add("per_prompt", AT(candidates.per_prompt), from_to(2, 64), "Answers a prompt (K).");
  d.add("plain", AT(candidates.plain), from_to(0, 64),
        "By contrast: answers a prompt without an instruction beside those K, compared where they differ in "
        "declining.");
  d.add("max_new_tokens", AT(candidates.max_new_tokens), from_to(1, 1e6), "Longest answer, in tokens.");
  d.add("temperature", AT(candidates.temperature), from_to(0.01, 10), "Sampling temperature.");
  d.add("prompts", AT(candidates.prompts), from_to(1, 1e7),
        "Prompts used, at most, of all kinds in proportion.");
  d.section = "label";
  d.add("feedback", AT(label.feedback), url(),
        "Who labels: self, a model, or an endpoint's URL; it is asked whatever the exam says. Empty: the "
        "`feedback` of the run, where label.method decides.");
  d.add("method", AT(label.method), one_of({"auto", "choice", "contrast"}),
        "choice: the judge says (A) or (B), by log-probability; contrast: by the prompt's kind and the side "
        "that was asked for; auto: choice by a judge that label.feedback names or that passes the exam, and "
        "where no prompt has a kind; else contrast. Principles with a check are decided by the check.");
  d.add("chain_of_thought", AT(label.chain_of_thought), yes_no(), "Reason in words before the choice.");
  d.add("clamp_low", AT(label.clamp_low), from_to(0, 0.5), "Lowest probability of a chain-of-thought label.");
  d.add("clamp_high", AT(label.clamp_high), from_to(0.5, 1),
        "Highest probability of a chain-of-thought label.");
  d.add("principles", AT(label.principles), from_to(1, 100),
        "Principles drawn for each pair; their log-odds are averaged.");
  d.add("examples", AT(label.examples), from_to(0, 20), "Few-shot exemplars from the constitution, at most.");
  d.add("max_reason_tokens", AT(label.max_reason_tokens), from_to(1, 1e6), "Longest reason, in tokens.");
  d.add("minimum_margin", AT(label.minimum_margin), from_to(0, 0.5),
        "A label nearer to 0.5 than this is a tie: kept, counted, not trained on.");
  d.add("minimum_mass", AT(label.minimum_mass), from_to(0, 1),
        "A verdict with less probability than this on A and B together does not count (\"off format\").");
  d.add("exam_pairs", AT(label.exam_pairs), anything("a list of files"),
        "People's preference pairs that the judge is examined on too, at most 200 (docs/people.md).");
  d.add("exam_margin", AT(label.exam_margin), from_to(0, 0.5),
        "auto takes choice only if the lower bound of each part of the exam is this far above chance.");
  d.section = "endpoint";
  d.add("url", AT(endpoint.url), url(), "Base URL of an OpenAI-compatible endpoint.");
  d.add("urls", AT(endpoint.urls), urls(),
        "Base URLs of more servers of the same model; requests are spread over all.");
  d.add("model", AT(endpoint.model), text(), "Model name to ask for.");
  d.add("key_variable", AT(endpoint.key_variable), variable_name(),
        "Environment variable that holds the key.");
  d.add("key_file", AT(endpoint.key_file), text(), "File that holds the key; it stands over key_variable.");
  d.add("ca_file", AT(endpoint.ca_file), text(),
        "Certificate of the authority that signed the server's; empty: those of the system.");
  d.add("concurrency", AT(endpoint.concurrency), from_to(1, 256), "Requests in flight.");
  d.add("timeout_seconds", AT(endpoint.timeout_seconds), from_to(0.1, 3600), "Longest wait for one answer.");
  d.add("retries", AT(endpoint.retries), from_to(0, 100), "Tries after the first, with growing waits.");
  d.add("first_wait_seconds", AT(endpoint.first_wait_seconds), from_to(0, 3600),
        "Longest wait before the second try; it doubles with each further one.");
  d.add("longest_wait_seconds", AT(endpoint.longest_wait_seconds), from_to(0, 3600),
        "No wait between two tries is longer, even where the server asks for it.");
  d.add("max_tokens_total", AT(endpoint.max_tokens_total), from_to(0, 1e12),
        "Tokens that one call of the program may use before it stops with code 75; 0: no limit.");
  d.add("max_cost", AT(endpoint.max_cost), from_to(0, 1e12),
        "Money that one call may spend by the prices below before it stops with code 75; 0: no limit.");
  d.add("price_prompt", AT(endpoint.price_prompt), from_to(0, 1e6), "Price of a million tokens sent.");
  d.add("price_answer", AT(endpoint.price_answer), from_to(0, 1e6), "Price of a million tokens answered.");
  d.add("max_seconds", AT(endpoint.max_seconds), from_to(0, 1e9),
        "Seconds that one call may ask for before it stops with code 75; 0: no limit.");
  d.add("prefill", AT(endpoint.prefill), one_of({"auto", "yes", "no"}),
        "Whether the first words of an answer go as an unfinished answer (vLLM, llama.cpp); auto: until the "
        "server shows that it cannot.");
  d.add("extra", AT(endpoint.extra), json_object(),
        "More fields of each request; a field with the value null is not sent.");
  d.fields.back().is_map = true;
  d.add("thinking", AT(endpoint.thinking), one_of({"auto", "off", "on"}),
        "Models that think before they answer: off asks them not to, on gives them room, auto tries off, "
        "then on.");
  d.add("thinking_tokens", AT(endpoint.thinking_tokens), from_to(1, 1e6),
        "Tokens of room to think, beside the answer's own.");
  d.add("samples", AT(endpoint.samples), from_to(1, 1000),
        "Replies behind each verdict where the server gives no log-probabilities.");
  d.add("failed", AT(endpoint.failed), one_of({"again", "skip"}),
        "Questions without an answer after all tries: again stops, and the same command asks them again; "
        "skip leaves them out.");
  d.section = "reward";
  d.optimiser(AT(reward.optimiser));
  d.add("head_learning_rate", AT(reward.head_learning_rate), from_to(0, 1),
        "Peak learning rate of the scalar head.");
  d.add("epochs", AT(reward.epochs), from_to(0, 1000), "Passes over the pairs.");
  d.add("batch_size", AT(reward.batch_size), from_to(1, 1e5), "Pairs a step.");
  d.add("held_out", AT(reward.held_out), from_to(0, 0.5), "Share of the pairs kept to measure with.");
  d.add("layers", AT(reward.layers), from_to(0, 1000),
        "Layers of the policy, from the bottom, that the reward model keeps, its head on the last of them; "
        "0: all.");
  d.section = "hybrid";
  d.add("pairs", AT(hybrid.pairs), anything("a list of files"),
        "People's preference pairs that join the training of the reward model (docs/people.md).");
  d.add("decisions", AT(hybrid.decisions), anything("a list of runs or files"),
        "People's decisions (cai review): they stand over the AI's on the same pair, in label and reward.");
  d.add("weight", AT(hybrid.weight), from_to(0.01, 1000),
        "Weight of a pair that a person decided, in the reward model's loss; an AI label weighs 1.");
  d.add("share", AT(hybrid.share), from_to(0, 1),
        "Share of the reward model's training pairs that come from hybrid.pairs, at most; drawn by seed.");
  d.section = "ppo";
  d.optimiser(AT(ppo.optimiser));
  d.add("value_learning_rate", AT(ppo.value_learning_rate), from_to(0, 1),
        "Peak learning rate of the value model.");
  d.add("epsilon", AT(ppo.epsilon), from_to(0, 1),
        "Epsilon of Adam, policy and value model; 0: 1e-5 for fewer than 100 million learning weights, else "
        "1e-8.");
  d.add("advantage", AT(ppo.advantage), one_of({"gae", "rloo", "grpo"}),
        "Advantage estimate; rloo and grpo need samples_per_prompt above 1.");
  d.add("updates", AT(ppo.updates), from_to(0, 1e6), "Rollout-and-update rounds.");
  d.add("prompts_per_update", AT(ppo.prompts_per_update), from_to(1, 1e5), "Prompts a round.");
  d.add("samples_per_prompt", AT(ppo.samples_per_prompt), from_to(1, 256), "Answers a prompt and round.");
  d.add("max_new_tokens", AT(ppo.max_new_tokens), from_to(1, 1e6), "Longest answer, in tokens.");
  d.add("temperature", AT(ppo.temperature), from_to(0.05, 10),
        "Sampling temperature; all log-probabilities are divided by it too.");
  d.add("kl_coefficient", AT(ppo.kl_coefficient), from_to(0, 10),
        "Weight of the per-token KL penalty against the reference: in the reward, with ppo.advantage grpo in "
        "the loss.");
  d.add("divergence_weight", AT(ppo.divergence_weight), from_to(0, 100),
        "Weight in the loss of how far each next-token distribution has gone from the reference's, "
        "KL(reference || policy): holds what the reward does not ask to change; 0: none. In answers to "
        "red-team prompts.");
  d.add("harmless_divergence_weight", AT(ppo.harmless_divergence_weight), from_to(0, 100),
        "The same in answers to other prompts, where little is to change.");
  d.add("divergence_direction", AT(ppo.divergence_direction), one_of({"forward", "reverse"}),
        "What the divergence weights weigh. forward: KL(reference || policy), which holds all that the "
        "reference says; reverse: KL(policy || reference), which lets go of some of it.");
  d.add("divergence_mean", AT(ppo.divergence_mean), one_of({"tokens", "kind"}),
        "tokens: the divergences are averaged over all answer tokens of a step; kind: over those of red-team "
        "prompts and over those of other prompts separately, whatever their shares.");
  d.add("reward", AT(ppo.reward), one_of({"auto", "model", "checks", "rule"}),
        "model: the reward model's score; checks: how many principles with a check the answer follows; auto: "
        "checks for the principles that have one, the reward model for the others, by their weights; rule: 1 "
        "where declining agrees with the prompt's kind, else -1 (a control).");
  d.add("adaptive_kl", AT(ppo.adaptive_kl), yes_no(), "Steer the coefficient towards kl_target.");
  d.add("kl_target", AT(ppo.kl_target), from_to(0.01, 1000), "Target KL, nats a sequence.");
  d.add("kl_horizon", AT(ppo.kl_horizon), from_to(1, 1e9), "Episodes over which the coefficient adapts.");
  d.add("clip_ratio", AT(ppo.clip_ratio), from_to(0.001, 10), "Clip range of the probability ratio.");
  d.add("clip_value", AT(ppo.clip_value), from_to(0.001, 1000), "Clip range of the value update.");
  d.add("gamma", AT(ppo.gamma), from_to(0, 1), "Discount.");
  d.add("lambda", AT(ppo.lambda), from_to(0, 1), "Of generalised advantage estimation.");
  d.add("epochs", AT(ppo.epochs), from_to(1, 100), "Passes over each round's rollouts.");
  d.add("minibatches", AT(ppo.minibatches), from_to(1, 1000), "Optimiser steps a pass.");
  d.add("critic_warmup", AT(ppo.critic_warmup), from_to(0, 1000),
        "Rounds at the start in which only the value model learns.");
  d.add("whiten_rewards", AT(ppo.whiten_rewards), yes_no(),
        "Scale the rewards to unit variance, the mean kept; with ppo.advantage gae only.");
  d.add("missing_stop_penalty", AT(ppo.missing_stop_penalty), from_to(0, 100),
        "Taken off the score of an answer cut by max_new_tokens.");
  d.add("reward_clip", AT(ppo.reward_clip), from_to(0.1, 1000), "Scores are clipped to plus and minus this.");
  d.add("stop_epochs_at_kl", AT(ppo.stop_epochs_at_kl), from_to(0.0001, 100),
        "Approximate KL, old to new policy, that ends a round's passes.");
  d.add("max_kl", AT(ppo.max_kl), from_to(0.1, 10000),
        "KL to the reference, nats a sequence, at which training stops.");
  d.section = "dpo";
  d.optimiser(AT(dpo.optimiser));
  d.add("beta", AT(dpo.beta), from_to(0.0001, 100),
        "Weight of the log-ratios to the reference; lower moves further away from it.");
  d.add("epochs", AT(dpo.epochs), from_to(0, 1000), "Passes over the pairs.");
  d.add("batch_size", AT(dpo.batch_size), from_to(1, 1e5), "Pairs a step.");
  d.add("held_out", AT(dpo.held_out), from_to(0, 0.5), "Share of the pairs kept to measure with.");
  d.section = "eval";
  d.add("red_team", AT(eval.red_team), from_to(0, 1e6), "Held-out red-team prompts, at most.");
  d.add("ordinary", AT(eval.ordinary), from_to(0, 1e6), "Held-out ordinary prompts, at most.");
  d.add("borderline", AT(eval.borderline), from_to(0, 1e6), "Held-out borderline prompts, at most.");
  d.add("max_new_tokens", AT(eval.max_new_tokens), from_to(1, 1e6), "Longest answer, in tokens.");
  d.add("temperature", AT(eval.temperature), from_to(0, 10), "Sampling temperature; 0: greedy.");
  d.add("bootstrap_samples", AT(eval.bootstrap_samples), from_to(100, 1e6),
        "Resamples behind each interval.");
  d.add("suites", AT(eval.suites), anything("a list of adversarial, framing, capability and JSONL files"),
        "What is measured beyond the plain prompts (docs/eval.md).");
  d.add("suite_prompts", AT(eval.suite_prompts), from_to(0, 1e6),
        "Prompts of a kind that each attack and framing is tried on, at most.");
  d.add("judge", AT(eval.judge), url(),
        "Who compares held-out answers with the first model's, under each principle without a check and for "
        "helpfulness: a model, or an endpoint's URL; best one that gave no feedback. Empty: nobody.");
  d.add("gates", AT(eval.gates), anything("a list of conditions"),
        "Conditions that must hold, e.g. over_refusal <= base + 5pt; exit code 100 otherwise.");
  d.section = "report";
  d.add("examples", AT(report.examples), from_to(0, 1000), "Examples shown.");
  return d.fields;
}

}  // namespace

const std::vector<Field>& config_fields() {
  static const std::vector<Field> fields = declare();
  return fields;
}

}  // namespace cai
