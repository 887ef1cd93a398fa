#include "cai/pipeline/speakers.hpp"

#include <algorithm>

#include "cai/pipeline/inputs.hpp"
#include "cai/pipeline/run.hpp"

namespace cai {
namespace fs = std::filesystem;

Speaker& Speakers::local(const fs::path& model) {
  const auto found =
      std::find_if(loaded_.begin(), loaded_.end(), [&](const auto& one) { return one.first == model; });
  if (found != loaded_.end()) {
    std::rotate(found, found + 1, loaded_.end());
  } else {
    if (loaded_.size() == 2) loaded_.erase(loaded_.begin());
    loaded_.emplace_back(model, local_speaker(model, config_.engine));
  }
  return *loaded_.back().second;
}

Speaker& Speakers::judge(const fs::path& policy, bool contrast) {
  const std::string& feedback = config_.label.feedback;
  const bool is_remote = is_endpoint(feedback);
  if (feedback == "self" || (is_remote && contrast)) return local(policy);
  if (!is_remote) return local(find_model(feedback));
  if (!endpoint_) endpoint_ = endpoint_speaker(judge_endpoint(config_), paid_);
  return *endpoint_;
}

}  // namespace cai
