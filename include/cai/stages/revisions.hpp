// The revisions of critiques' records: how each is asked for, what is wrong with it, which one is the best.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "cai/base/random.hpp"
#include "cai/config/config.hpp"
#include "cai/data/constitution.hpp"
#include "cai/feedback/speaker.hpp"
#include "cai/io/json.hpp"
#include "cai/stages/checking.hpp"
#include "cai/stages/mending.hpp"

namespace cai {

/// Reply::finish of an answer that was changed in one place.
inline constexpr const char* kMended = "mended";

/// How to get one more revision: by a model's reply, by a change that a model ends, or by a program's change.
struct NextRevision {
  Ask ask;
  std::optional<Mend> mend;

  bool needs_model() const { return !mend || !mend->begun.empty(); }
  Reply read(Reply reply) const {
    return mend ? Reply{.text = mended(*mend, reply.text), .finish = kMended} : std::move(reply);
  }
};

/// Keeps references to its arguments. Records are named by their number in `critiques`.
class Revisions {
 public:
  Revisions(const ReviseConfig& config, const Constitution& constitution, const std::vector<Json>& critiques,
            Random random);

  /// The principle that the critique names; nothing where none is broken. Throws InputError where the
  /// constitution has no such principle.
  const Principle* principle(std::size_t i) const;

  /// What to ask for the first revision; nothing where no principle is broken.
  std::vector<Ask> asks(std::size_t i) const;

  /// How to get one more; `best` is the record as best() gives it. With checks it goes on from the best text
  /// so far, under the next rule that this breaks: a text that answers the request is mended where that can
  /// be done, else written anew.
  NextRevision next(std::size_t i, const Json& best, long attempt) const;

  /// The record with the best of its revisions.
  Json best(std::size_t i, std::span<const Reply> replies) const;

 private:
  struct Try;

  std::optional<Mend> mend_of(std::size_t i, const Principle& principle, const std::string& text,
                              std::size_t round) const;
  Ask ask(std::size_t i, const Principle& principle, const std::string& answer, long attempt) const;
  Ask ask_to_end(std::size_t i, const Mend& mend, long attempt) const;
  std::string opening(std::size_t i) const;
  std::vector<Checked> checked(std::size_t i, const std::string& answer) const;
  Try judged(std::size_t i, const Reply& reply) const;
  std::string problem_of(std::size_t i, const std::string& text, const std::string& finish) const;
  Random random(std::size_t i) const;

  const ReviseConfig& config_;
  const Constitution& constitution_;
  const std::vector<Json>& critiques_;
  const Random random_;
  const std::vector<Message> exemplars_;
};

}  // namespace cai
