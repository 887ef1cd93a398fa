// What the training stages share: text to tokens, splits, progress. No torch here.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cai/base/progress.hpp"
#include "cai/text/chat.hpp"
#include "cai/train/train.hpp"

namespace cai {

/// The tokens of a prompt as the policy meets it, up to where its answer starts.
std::vector<int> prompt_tokens(const ChatTemplate& chat, const std::string& prompt);

/// Those with the answer, the format's stop token included when the answer is whole.
std::vector<int> answered_tokens(const ChatTemplate& chat, const std::vector<int>& prompt,
                                 const std::string& answer, bool with_stop);

/// Leading tokens of an answer up to its last whole sentence (cut_at_sentence); 0 when there is none.
std::size_t whole_tokens(const Tokenizer& tokenizer, std::span<const int> answer);

/// What training is told of answers' text. `chat` outlives it.
AnswerText answer_text(const ChatTemplate& chat);

/// Which of n items are held out: share * n of them (at least one of two or more, when share > 0), drawn by
/// seed.
std::vector<bool> draw_held_out(std::size_t n, double share, std::uint64_t seed);

/// Shows a training stage's steps as progress.
StepObserver step_progress(const std::string& stage, const ProgressFn& progress);

/// An emptied folder/checkpoint.
std::filesystem::path fresh_checkpoint(const std::filesystem::path& folder);

}  // namespace cai
