// sft: supervised fine-tuning on revisions, the SL-CAI model (Bai et al. 2022, section 3.1).
#pragma once

#include <filesystem>
#include <map>

#include "cai/base/progress.hpp"
#include "cai/config/config.hpp"
#include "cai/data/decisions.hpp"
#include "cai/io/json.hpp"
#include "cai/stages/judge_turns.hpp"
#include "cai/text/chat.hpp"
#include "cai/train/train.hpp"

namespace cai {

/// The records with the answers that people wrote themselves (the last one on a prompt) in place of the
/// revision, marked `edited`; edits of other prompts come behind them. Such an answer counts as declining
/// where it begins like a refusal.
std::vector<Json> with_edits(std::vector<Json> records, const People& people);

/// What records teach, in their order, before some are held out.
struct SftExamples {
  std::vector<TrainExample> examples;      // with their decisions; never empty
  std::vector<std::vector<int>> openings;  // as find_decisions returns them
  std::map<std::string, long> used;        // "revision red-team", "response ordinary", "edit ...", ...
  std::map<std::string, long> left_out;    // by reason
  std::vector<Json> uses;                  // {id, use, why} of each record left out

  void leave_out(const std::string& id, const std::string& why);
};

/// The setting is about all decisions of either side at the first token, the trainer weighs single ones:
/// `config` with an answering_weight that makes the second do the first on these examples.
SftConfig with_weight_of_one_decision(SftConfig config, const std::vector<TrainExample>& examples);

/// Throws InputError when nothing is fit to learn from.
SftExamples sft_examples(const SftConfig& config, const std::vector<Json>& records, const ChatTemplate& chat);

/// `records`: the last revise stage's (revised or not); ordinary answers come in `response`. Unusable
/// revisions are left out, counted by reason. `turns`: what judging is learned from, beside the answers; each
/// weighs as much as an answer of mean length. Trains a copy of `model` and leaves folder/checkpoint (HF
/// layout) and folder/metrics.jsonl, folder/examples.jsonl ({id, use: train | held-out | left-out, why}).
/// Returns figures.
Json sft(const SftConfig& config, const EngineConfig& engine, const std::vector<Json>& records,
         const std::vector<JudgeTurn>& turns, const std::filesystem::path& model,
         const std::filesystem::path& folder, std::uint64_t seed, const ProgressFn& progress);

/// What the decision loss (train/train.hpp) is about. An opening is one of the tokens that follow one
/// beginning in at least a fiftieth of the declining answers that have it (eight at most, the commonest
/// first), and begin a smaller share of all answering examples than of all declining ones. "I" alone decides
/// little where a willing answer begins "I can help": so the next tokens are looked at too, up to the fourth,
/// behind openings only. Sets the decisions of each example: to decline at each opening that a declining one
/// takes, to answer where an answering one leaves them. `declines`: of each example. Returns the openings,
/// each with what comes before it; none without both sides.
std::vector<std::vector<int>> find_decisions(const std::vector<bool>& declines,
                                             std::vector<TrainExample>& examples);

}  // namespace cai
