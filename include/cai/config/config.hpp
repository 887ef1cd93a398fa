// The config of a run: one struct a section. Values here are the program's defaults; fields.cpp declares
// range and help of each.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "cai/config/lora.hpp"

namespace cai {

struct EngineConfig {
  std::string device = "auto";  // auto | cpu | cuda | cuda:N
  std::string dtype = "auto";   // auto | float32 | bfloat16 | int8
  long max_sequences = 128;
  long threads = 0;  // 0: all cores
};

struct PromptsConfig {
  std::vector<std::string> files;                         // empty: the shipped sets
  long red_team = 200, ordinary = 200, borderline = 140;  // training prompts drawn of each kind, at most
  long expand = 0;              // prompts to add by few-shot generation (stage `prompts`)
  double near_duplicate = 0.7;  // Jaccard of word 3-grams above which a new prompt is dropped
  double wrapped = 0;           // share of the drawn prompts that are asked a second time, in a wrapper
  std::vector<std::string> wrappers = {"wrappers"};  // files of attacks, as in eval.suites
};

struct GenerateConfig {
  long max_new_tokens = 64;
  double temperature = 0.8;
  double top_p = 1.0;
};

struct CritiqueConfig {
  long max_new_tokens = 48;
  double temperature = 0.3;
  long examples = 3;               // few-shot exemplars from the constitution, at most
  bool harmless = false;           // answers to ordinary and borderline prompts too
  std::string principle = "auto";  // auto | ask | draw: which of the principles that may apply
};

struct ReviseConfig {
  long rounds = 1;  // R: critique and revise alternate
  long max_new_tokens = 64;
  double temperature = 0.5;
  long examples = 3;
  bool openings = true;  // start a revision with one of its principle's openings
  long tries = 1;        // revisions of an answer; the best one is kept
  std::string judge =
      "auto";  // auto | yes | no: keep one only where the model finds it better, asked in both orders
};

struct OptimiserConfig {  // shared by the training sections, each with its own values
  double learning_rate = 2e-5;
  double weight_decay = 0.0;
  double max_gradient_norm = 1.0;
  double warmup_ratio = 0.1;
  std::string schedule = "linear";  // linear | constant | cosine
  long trainable_layers = 0;        // top layers that learn; 0: all, embedding included
  double checkpoint_seconds = 120;  // state is saved at least this often; does not change the result
  LoraConfig lora;                  // in place of trainable_layers where its rank is above 0
};

struct SftConfig {
  OptimiserConfig optimiser;
  long epochs = 1;
  long batch_size = 16;            // examples a step
  long max_tokens = 512;           // longer examples are left out and counted
  std::string revisions = "last";  // last | all rounds
  std::string unrevised =
      "distribution";      // distribution | tokens | none: what ordinary and borderline answers teach
  long judge_turns = 0;    // turns of a judge whose answer is known that join the data, at most
  double held_out = 0.05;  // share of examples kept for the held-out loss
  double decision_weight =
      1;  // of the loss on whether an answer declines, by its first tokens, beside the loss on its tokens
  double answering_weight = 1;  // in that loss, of all decisions to answer beside all decisions to decline
  double before_share = 0;      // of the weights from before training in those that come out
};

struct CandidatesConfig {
  long per_prompt = 2;  // K
  long plain = 2;       // by contrast: answers without an instruction, beside those K
  long max_new_tokens = 64;
  double temperature = 1.0;
  long prompts = 200;  // at most, of all kinds in proportion
};

struct LabelConfig {
  std::string feedback;         // as Config::feedback; empty: the same
  std::string method = "auto";  // auto | choice | contrast
  bool chain_of_thought = false;
  double clamp_low = 0.4,
         clamp_high = 0.6;  // of chain-of-thought probabilities (Bai et al. 2022, section 4.3)
  long principles = 2;      // drawn for each pair; their log-odds are averaged
  long examples = 3;
  long max_reason_tokens = 128;
  double minimum_margin = 0.02;         // |p - 0.5| below this is a tie: kept, counted, left out of training
  std::vector<std::string> exam_pairs;  // people's preference pairs that join the exam
  double minimum_mass = 0.5;            // P(A) + P(B) below which a verdict does not count
  double exam_margin = 0.05;  // auto: choice only if the exam's lower bound is this far above chance
};

struct EndpointConfig {
  std::string url;
  std::vector<std::string> urls;  // more servers of the same model, beside url
  std::string model = "default";
  std::string key_variable = "CAI_API_KEY";  // environment variable that holds the key
  long concurrency = 4;
  double timeout_seconds = 60;
  std::string key_file;  // holds the key; before key_variable when it is given
  std::string ca_file;   // certificate of the authority that signed the server's; "": the system's
  long retries = 5;
  double first_wait_seconds = 0.5, longest_wait_seconds = 60;  // between tries
  // Budgets of one call of the program; 0: none.
  long max_tokens_total = 0;
  double max_cost = 0, price_prompt = 0,
         price_answer = 0;  // prices of a million tokens, in the currency of max_cost
  double max_seconds = 0;
  std::string prefill = "auto";   // auto | yes | no: the first words of an answer go as an unfinished answer
  std::string extra;              // JSON object: more fields of each request; null leaves one out
  std::string thinking = "auto";  // auto | off | on: what a model may do that thinks before it answers
  long thinking_tokens = 2048;    // room for that, beside the answer
  long samples = 5;               // replies behind a verdict where a server gives no log-probabilities
  std::string failed = "again";   // again | skip: what becomes of questions that got no answer
};

struct RewardConfig {
  OptimiserConfig optimiser{.learning_rate = 2e-5};
  double head_learning_rate = 1e-3;
  long epochs = 1;
  long batch_size = 16;  // pairs a step
  double held_out = 0.15;
  long layers = 0;  // of the policy, from the bottom, that the reward model keeps; 0: all
};

struct HybridConfig {
  std::vector<std::string> pairs;  // preference pairs of people that join reward training
  std::vector<std::string>
      decisions;  // runs (cai review) or files: a person's decision stands over the AI's on the same pair
  double weight = 1.0;  // of a pair that a person decided; an AI label weighs 1
  double share = 0.5;   // of the training pairs that come from `pairs`, at most
};

struct PpoConfig {
  OptimiserConfig optimiser{.learning_rate = 2e-5, .warmup_ratio = 0.0};
  double value_learning_rate = 5e-5;
  std::string advantage = "gae";  // gae | rloo | grpo
  long updates = 14;              // where none is set: 40 if checks give the whole reward
  long prompts_per_update = 16;
  long samples_per_prompt = 1;  // more than one is needed by rloo and grpo
  long max_new_tokens = 64;
  double temperature = 1.0;  // no other sampler option: see docs
  double kl_coefficient = 0.05;
  double divergence_weight = 0;  // of KL(reference || policy), whole next-token distributions, in the loss;
                                 // in answers to red-team prompts
  double harmless_divergence_weight = 0;  // the same, in answers to the others
  std::string divergence_direction =
      "forward";  // forward: KL(reference || policy) | reverse: KL(policy || reference)
  std::string divergence_mean = "tokens";  // over all tokens of a step | kind: over those of red-team prompts
                                           // and over those of the others
  std::string reward = "auto";             // auto | model | checks | rule
  double epsilon = 0;                      // Adam's; 0: by the number of weights that learn, see adam_epsilon
  bool adaptive_kl = false;
  double kl_target = 6.0, kl_horizon = 10000;
  double clip_ratio = 0.2, clip_value = 0.2;
  double gamma = 1.0, lambda = 0.95;
  long epochs = 2, minibatches = 1;
  long critic_warmup = 2;  // updates in which only the value model learns
  bool whiten_rewards = false;
  double missing_stop_penalty = 1.0;  // taken off the score of an answer cut by max_new_tokens
  double reward_clip = 5.0;
  double stop_epochs_at_kl = 0.03;  // approximate KL old to new that ends the epochs of an update
  double max_kl = 25.0;             // nats a sequence to the reference: guard
};

struct DpoConfig {
  OptimiserConfig optimiser{.learning_rate = 1e-5};
  double beta = 0.1;  // how dear it is to move away from the reference
  long epochs = 1;
  long batch_size = 16;  // pairs a step
  double held_out = 0.15;
};

struct EvalConfig {
  long red_team = 60, ordinary = 40, borderline = 40;  // held-out prompts of each kind, at most
  long max_new_tokens = 64;
  double temperature = 0.0;
  long bootstrap_samples = 2000;
  std::vector<std::string> suites = {"adversarial", "framing",
                                     "capability"};  // shipped ones by name, others as JSONL files
  std::string judge;  // compares the answers under the principles without a check: a model or an endpoint;
                      // empty: nobody
  long suite_prompts = 20;         // plain prompts of a kind that an attack or a framing is tried on, at most
  std::vector<std::string> gates;  // e.g. "over_refusal <= base + 5pt"
};

struct ReportConfig {
  long examples = 12;
};

struct Config {
  std::string constitution = "constitutions/harmless.yaml";
  std::string model = "smollm2";  // smollm2 | an HF folder | a GGUF file
  std::string feedback = "self";  // who criticises, revises and labels: self | a model | an endpoint's URL
  std::string out;                // run folder; empty: runs/<constitution>-NN
  long seed = 1;
  long iterations = 1;
  std::string method = "ppo";  // ppo | dpo: how the policy learns from the labels
  EngineConfig engine;
  PromptsConfig prompts;
  GenerateConfig generate;
  CritiqueConfig critique;
  ReviseConfig revise;
  SftConfig sft;
  CandidatesConfig candidates;
  LabelConfig label;
  EndpointConfig endpoint;
  RewardConfig reward;
  HybridConfig hybrid;
  PpoConfig ppo;
  DpoConfig dpo;
  EvalConfig eval;
  ReportConfig report;
  std::map<std::string, std::string>
      origin;  // "ppo.kl_coefficient" -> "configs/quick.yaml:12", "--set", ...; absent: default
};

/// Who labels: label.feedback, else `feedback`.
const std::string& judge_of(const Config& config);

/// Order: default < `extends` < file < --set key=value. All problems together in one InputError, each with
/// file:line (or --set), what was found, what is accepted and the nearest valid name. Unknown and duplicate
/// keys, nan, inf and out-of-range values are problems.
Config load_config(const std::filesystem::path& file /* empty: defaults only */,
                   const std::vector<std::string>& sets);

/// YAML with every field; with_origin adds where each value came from as a comment. Loading it gives the same
/// config.
std::string to_yaml(const Config& config, bool with_origin);

/// The same with origins, and a last line "# sha256 ..." of what stands above it: load_config refuses such a
/// file once it was damaged or changed.
std::string to_sealed_yaml(const Config& config);

/// "section.name = value" lines of one section in declared order; part of that stage's key.
std::string section_text(const Config& config, const std::string& section);

}  // namespace cai
