// What the engine needs of a model: one pass of rows through it, and what is drawn or read from its logits.
// The CPU's is packed_model.hpp, any other device's device_model.hpp. No torch here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "cai/base/random.hpp"
#include "cai/engine/sampling.hpp"
#include "cai/model/config.hpp"

namespace cai {

struct Llama;

/// Room for the keys and values of one text; a model's own.
class SequenceCache {
 public:
  virtual ~SequenceCache() = default;
};

/// A prefix that several requests share, computed once.
struct Prefix {
  std::vector<int> tokens;
  std::unique_ptr<SequenceCache> cache;
};

/// A text that is read, or written and read.
struct Sequence {
  std::size_t index = 0;                 // of the request
  std::vector<int> tokens;               // all of it, the shared prefix included; grows while generating
  std::shared_ptr<Prefix> prefix;        // covers tokens[0, prefix->tokens.size())
  std::unique_ptr<SequenceCache> cache;  // of what the prefix does not have
  std::int64_t computed = 0;             // positions whose keys and values are in the caches
  std::int64_t prompt = 0;               // length of the prompt
};

/// One position of one sequence.
struct Row {
  Sequence* sequence;
  std::int64_t position;
  bool is_drawn = false;  // its token was drawn, not given
};

/// A token to be drawn behind a wanted row, as sample() does.
struct Drawing {
  std::int64_t wanted;  // its number among the wanted rows
  double temperature, top_p;
  Random* random;
};

/// A token whose log-probability is asked for behind a wanted row.
struct Asked {
  std::int64_t wanted;
  int token;
};

class SpeakingModel {
 public:
  virtual ~SpeakingModel() = default;
  virtual const ModelConfig& config() const = 0;
  virtual std::int64_t max_rows() const = 0;  ///< of one pass

  /// As Engine has it.
  virtual void refresh(const Llama& model, std::int64_t unchanged) = 0;

  /// Makes room for a sequence of up to `positions`, and takes over what its prefix has.
  virtual void open(Sequence& sequence, std::int64_t positions) = 0;

  /// One pass of these rows through all layers; puts their keys and values into the sequences' caches. Rows
  /// of one sequence stand together. `wanted`: the rows whose logits may be asked for, ascending; nothing
  /// else is computed of the last layer's result.
  virtual void forward(std::span<const Row> rows, std::span<const std::int64_t> wanted) = 0;

  /// Of the wanted rows of the last pass, one drawing a row at most.
  virtual void draw(std::span<const Drawing> drawings, std::span<Sampled> drawn) = 0;

  /// Natural log-probabilities at temperature 1, by wanted rows ascending.
  virtual void log_probabilities(std::span<const Asked> asked, std::span<float> found) = 0;
};

}  // namespace cai
