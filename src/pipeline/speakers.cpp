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

Speaker& Speakers::feedback(const std::string& name, const fs::path& policy) {
  if (name == "self") return local(policy);
  if (!is_endpoint(name)) return local(find_model(name));
  std::unique_ptr<Speaker>& endpoint = endpoints_[name];
  if (!endpoint) endpoint = endpoint_speaker(endpoint_at(config_, name), paid_);
  return *endpoint;
}

Speaker& Speakers::judge(const fs::path& policy, bool contrast) {
  const std::string& name = judge_of(config_);
  return feedback(is_endpoint(name) && contrast ? "self" : name, policy);
}

}  // namespace cai
