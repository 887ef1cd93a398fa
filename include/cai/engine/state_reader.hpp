// What a model makes of a text on the way: the residual states behind some of its layers. No torch here.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace cai {

class LlamaReader;
struct Llama;

class StateReader {
 public:
  /// `layers`: numbers from 1, ascending. Layers behind the last one are never computed. `dtype`: of the
  /// products, as EngineOptions has it; the states are float32 in any case.
  StateReader(LlamaReader reader, const std::string& dtype, std::vector<std::int64_t> layers);
  StateReader(const Llama& model, const std::string& dtype, std::vector<std::int64_t> layers);
  ~StateReader();
  StateReader(StateReader&&) noexcept;

  /// Reads each text and shows the states of its positions from `first` on, once a text and in order:
  /// visit(index, states) with [positions, layers * width] float32, valid during the call only. Bits depend
  /// on the text alone, not on its neighbours or their number. Throws Bug for an empty text or one that is
  /// longer than context(), Stopped when asked to stop.
  struct Text {
    std::vector<int> tokens;
    std::int64_t first = 0;
  };
  void read(std::span<const Text> texts,
            const std::function<void(std::size_t, std::span<const float>)>& visit);

  std::int64_t context() const;
  std::int64_t width() const;  ///< floats of a position: layers times the model's width

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cai
