// Small changes that make a rule of form hold: what a program can do by itself (leave a sentence out), or
// begin and let a model end (one more sentence, which is a question).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cai/base/random.hpp"
#include "cai/data/answer_check.hpp"

namespace cai {

/// A changed answer.
struct Mend {
  std::string text;   // what stays of the answer
  std::string begun;  // first words of a sentence that a model has to add behind it, or ""
  std::string end;    // what that sentence has to end with ("?"); "": as any sentence

  std::string opening() const { return text + " " + begun; }
};

/// The changes that may make the first broken rule of `check` hold, best first. None where nothing is broken,
/// or where the rule needs another answer (a language, JSON, a refusal, headings). `beginnings`: how a
/// sentence may begin that makes a rule on phrases or patterns hold; without any it begins with the missing
/// phrase.
std::vector<Mend> mends(const AnswerCheck& check, std::string_view request, std::string_view answer,
                        Random random, const std::vector<std::string>& beginnings = {});

/// A model's reply to mend.opening(), up to the end of the sentence that was begun; "" where it ends
/// otherwise or not at all.
std::string mended(const Mend& mend, std::string_view reply);

}  // namespace cai
