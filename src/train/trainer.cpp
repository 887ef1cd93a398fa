#include "cai/train/trainer.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <cstring>
#include <map>
#include <numbers>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/base/log.hpp"
#include "cai/base/stop.hpp"
#include "cai/base/text.hpp"
#include "cai/io/safetensors.hpp"
#include "cai/model/layer_tensors.hpp"
#include "cai/model/tensors.hpp"

namespace cai {

namespace fs = std::filesystem;

std::int64_t first_trainable_layer(const ModelConfig& config, long trainable_layers) {
  return trainable_layers <= 0 || trainable_layers >= config.layers ? 0 : config.layers - trainable_layers;
}

NamedTensors make_trainable(Llama& model, long trainable_layers, bool with_head) {
  const auto own = [](at::Tensor& t) {
    if (t.defined())
      t = t.detach().to(at::kFloat, /*non_blocking=*/false, /*copy=*/true).requires_grad_(true);
  };
  if (trainable_layers <= 0) {
    own(model.embedding);
    if (model.config.tied_head)
      model.head = model.embedding;
    else if (with_head)
      own(model.head);
  }
  const std::int64_t first = first_trainable_layer(model.config, trainable_layers);
  for (std::int64_t i = first; i < model.config.layers; ++i)
    for_each_tensor(model.layers[static_cast<std::size_t>(i)], own);
  own(model.norm);
  NamedTensors learning;
  for (auto& [name, t] : model.named_weights())
    if (t.requires_grad()) learning.emplace_back(name, t);
  return learning;
}

double scheduled_rate(const OptimiserConfig& config, double peak, long step, long steps) {
  const double warmup = std::ceil(config.warmup_ratio * static_cast<double>(steps)),
               at = static_cast<double>(step);
  if (at < warmup) return peak * (at + 1) / warmup;
  if (config.schedule == "constant") return peak;
  const double progress = (at - warmup) / std::max(1.0, static_cast<double>(steps) - warmup);
  return config.schedule == "cosine" ? peak * 0.5 * (1 + std::cos(std::numbers::pi * progress))
                                     : peak * (1 - progress);
}

AdamW::AdamW(NamedTensors weights, double epsilon, double weight_decay, double beta2, const AdamW* lender)
    : weights_(std::move(weights)), epsilon_(epsilon), weight_decay_(weight_decay), beta2_(beta2) {
  const at::NoGradGuard no_gradients;
  std::map<std::string, at::Tensor> lent;
  if (lender != nullptr) lent.insert(lender->weights_.begin(), lender->weights_.end());
  for (const auto& [name, w] : weights_) {
    const auto other = lent.find(name);
    at::Tensor(w).mutable_grad() =
        other != lent.end() && other->second.sizes() == w.sizes() ? other->second.grad() : at::zeros_like(w);
    first_.push_back(at::zeros_like(w));
    second_.push_back(at::zeros_like(w));
    steps_.push_back(at::zeros({}, w.options().requires_grad(false)));
  }
}

double AdamW::norm() const {
  double squares = 0;
  for (const auto& [name, w] : weights_) {
    const double norm = w.grad().norm().item<double>();
    squares += norm * norm;
  }
  return std::sqrt(squares);
}

double AdamW::take_norm() {
  const at::NoGradGuard no_gradients;
  const double norm = this->norm();
  for (auto& [name, w] : weights_)
    w.mutable_grad().zero_();
  return norm;
}

double AdamW::step(double rate, double max_norm) {
  const at::NoGradGuard no_gradients;
  const double norm = this->norm();
  if (std::isfinite(norm)) {
    std::optional<at::Tensor> divisor;  // of gradients that are too long
    if (max_norm > 0 && norm > max_norm)
      divisor = at::full({}, (norm + 1e-6) / max_norm, steps_.front().options());
    for (at::Tensor& t : steps_)
      t.add_(1);  // the fused kernel reads the count, it does not raise it
    for (const bool decays : {true, false}) {
      std::vector<at::Tensor> values, gradients, first, second, steps, none;
      for (std::size_t i = 0; i < weights_.size(); ++i) {
        const at::Tensor& w = weights_[i].second;
        if ((w.dim() > 1) != decays) continue;  // norms and biases are vectors
        values.push_back(w), gradients.push_back(w.grad()), first.push_back(first_[i]),
            second.push_back(second_[i]), steps.push_back(steps_[i]);
      }
      if (values.empty()) continue;
      at::_fused_adamw_(values, gradients, first, second, none, steps, rate, 0.9, beta2_,
                        decays ? weight_decay_ : 0, epsilon_, false, false, divisor);
      // It does not say so itself, and RoundedWeights goes by the version.
      for (const at::Tensor& w : values)
        w.unsafeGetTensorImpl()->bump_version();
    }
  }
  for (auto& [name, w] : weights_)
    w.mutable_grad().zero_();
  return norm;
}

void AdamW::collect(const std::string& prefix, NamedTensors& into) const {
  for (std::size_t i = 0; i < weights_.size(); ++i) {
    into.emplace_back(prefix + ".weight." + weights_[i].first, weights_[i].second.detach());
    into.emplace_back(prefix + ".first." + weights_[i].first, first_[i]);
    into.emplace_back(prefix + ".second." + weights_[i].first, second_[i]);
    into.emplace_back(prefix + ".step." + weights_[i].first, steps_[i]);
  }
}

void AdamW::restore(const std::string& prefix, const std::vector<std::pair<std::string, at::Tensor>>& from) {
  const at::NoGradGuard no_gradients;
  const auto take = [&](const std::string& name, at::Tensor& to) {
    for (const auto& [key, t] : from) {
      if (key != prefix + name) continue;
      if (t.sizes() != to.sizes()) throw InputError("the training state's \"" + key + "\" has another shape");
      to.copy_(t);
      return;
    }
    throw InputError("the training state has no \"" + prefix + name + "\"");
  };
  for (std::size_t i = 0; i < weights_.size(); ++i) {
    take(".weight." + weights_[i].first, weights_[i].second);
    take(".first." + weights_[i].first, first_[i]);
    take(".second." + weights_[i].first, second_[i]);
    take(".step." + weights_[i].first, steps_[i]);
  }
}

TrainingState::TrainingState(fs::path folder, double checkpoint_seconds)
    : folder_(std::move(folder)), interval_(checkpoint_seconds) {
  create_folders(folder_ / "state");
  remove_unpublished(folder_ / "state");
}

Json TrainingState::restore(const std::vector<std::pair<std::string, AdamW*>>& groups) {
  const fs::path note = folder_ / "state" / "position.json", metrics = folder_ / "metrics.jsonl";
  const auto from_the_start = [&] {
    metrics_ = std::make_unique<AppendFile>(metrics, 0);
    return Json();
  };
  if (!fs::exists(note)) return from_the_start();
  Json saved;
  NamedTensors from;
  std::string lines;
  try {
    saved = read_sealed(note);
    const fs::path file = folder_ / "state" / saved.at("file").get<std::string>();
    if (!fs::exists(file) || sha256_file(file) != saved.at("sha256").get<std::string>())
      throw InputError(file.string(), 0,
                       "checksum mismatch with position.json: the file is corrupt or was edited");
    for (const SafeTensor& t : read_safetensors(file).tensors) {
      at::Tensor copy = at::empty(t.shape, at::kFloat);
      std::memcpy(copy.data_ptr(), t.bytes.data(), t.bytes.size());
      from.emplace_back(t.name, copy);
    }
    lines =
        fs::exists(metrics) ? read_file(metrics).substr(0, saved.at("metrics_bytes").get<std::size_t>()) : "";
    if (sha256(lines) != saved.at("metrics_sha256").get<std::string>())
      throw InputError(metrics.string(), 0,
                       "checksum mismatch with position.json: the file is corrupt or was edited");
  } catch (const InputError& damaged) {
    log_warning(std::string(damaged.what()) + "; training begins again");  // which ends the same
    return from_the_start();
  }
  for (const auto& [prefix, group] : groups)
    group->restore(prefix, from);
  file_ = saved.at("file").get<std::string>();
  write_file(metrics, lines);
  metrics_ = std::make_unique<AppendFile>(metrics, lines.size());
  return saved.at("position");
}

void TrainingState::log(const Json& metrics) {
  metrics_->append(to_line(metrics) + "\n");
}

void TrainingState::maybe_save(const Json& position,
                               const std::vector<std::pair<std::string, AdamW*>>& groups) {
  const bool stopping = stop_requested();
  if (!stopping && std::chrono::steady_clock::now() - saved_ < interval_) return;
  metrics_->sync();
  NamedTensors all;
  for (const auto& [prefix, group] : groups)
    group->collect(prefix, all);
  std::vector<SafeTensor> tensors;
  std::vector<at::Tensor> kept;
  for (const auto& [name, t] : all) {
    kept.push_back(t.cpu().contiguous());
    tensors.push_back(
        {name,
         "F32",
         t.sizes().vec(),
         {static_cast<const std::byte*>(kept.back().data_ptr()), static_cast<std::size_t>(t.nbytes())}});
  }
  // Two names in turn: the state that position.json points to is whole until the next one is.
  const fs::path note = folder_ / "state" / "position.json";
  std::string file = "a.safetensors";
  if (file_ == file) file = "b.safetensors";
  remove_path(folder_ / "state" / file);  // two states on the disk, never three
  const std::string hash = write_safetensors(folder_ / "state" / file, tensors, {});
  write_sealed(note, {{"file", file},
                      {"sha256", hash},
                      {"metrics_bytes", metrics_->size()},
                      {"metrics_sha256", sha256_file(folder_ / "metrics.jsonl")},
                      {"position", position}});
  file_ = file;
  saved_ = std::chrono::steady_clock::now();
  if (stopping) throw Stopped();
}

std::vector<Json> TrainingState::history() const {
  std::vector<Json> lines;
  long line = 0;
  for (const std::string& text : split(read_file(folder_ / "metrics.jsonl"), '\n')) {
    ++line;
    if (!text.empty()) lines.push_back(parse_json(text, (folder_ / "metrics.jsonl").string(), line));
  }
  return lines;
}

void TrainingState::finish() {
  metrics_->sync();
}

std::vector<at::Tensor> frozen_states(const Llama& model, const std::vector<std::vector<int>>& all,
                                      std::int64_t first, long epochs) {
  std::map<std::vector<int>, std::size_t> number_of;  // an answer stands in several pairs
  std::vector<std::vector<int>> sequences;
  std::vector<std::int64_t> lengths;
  std::int64_t tokens = 0;
  for (const auto& s : all)
    if (number_of.emplace(s, sequences.size()).second)
      sequences.push_back(s), lengths.push_back(static_cast<std::int64_t>(s.size())),
          tokens += lengths.back();
  if (first == 0 || epochs < 2 || tokens * model.config.width * 4 > (std::int64_t{1} << 30)) return {};
  const at::NoGradGuard frozen;
  std::vector<at::Tensor> states;
  for (const auto& [from, to] : micro_batches(lengths, micro_batch_tokens(model.device()))) {
    stop_if_requested();
    const Packed packed = pack({sequences.begin() + static_cast<std::ptrdiff_t>(from),
                                sequences.begin() + static_cast<std::ptrdiff_t>(to)},
                               model.device());
    const at::Tensor hidden = run_layers(model, embed(model, packed.tokens), packed, 0, first);
    for (std::size_t k = 0; k < to - from; ++k)
      states.push_back(hidden.index_select(0, on(model.device(), rows_of(packed, k))));
  }
  std::vector<at::Tensor> of_all;
  for (const auto& s : all)
    of_all.push_back(states[number_of.at(s)]);
  return of_all;
}

std::int64_t micro_batch_tokens(const at::Device& device) {
  constexpr std::int64_t kDeviceTokens = 8192;
  return device.is_cpu() ? kMicroBatchTokens : kDeviceTokens;
}

std::vector<std::pair<std::size_t, std::size_t>> micro_batches(const std::vector<std::int64_t>& lengths,
                                                               std::int64_t tokens) {
  std::vector<std::pair<std::size_t, std::size_t>> parts;
  std::size_t from = 0;
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    if (i > from && sum + lengths[i] > tokens) parts.emplace_back(from, i), from = i, sum = 0;
    sum += lengths[i];
  }
  if (from < lengths.size()) parts.emplace_back(from, lengths.size());
  return parts;
}

}  // namespace cai
