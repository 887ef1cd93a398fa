// The models that a run or a command has loaded.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cai/config/config.hpp"
#include "cai/feedback/speaker.hpp"

namespace cai {

/// The last two models stay loaded from stage to stage (the first one and the one that learned from it).
class Speakers {
 public:
  /// `config` must outlive this. `paid`: the file that keeps an endpoint's answers.
  Speakers(const Config& config, std::filesystem::path paid) : config_(config), paid_(std::move(paid)) {}

  Speaker& local(const std::filesystem::path& model);

  /// Who gives feedback: "self" is `policy`, else a model or an endpoint.
  Speaker& feedback(const std::string& name, const std::filesystem::path& policy);

  /// Who labels (judge_of); `policy` is the model that judges itself. Contrast needs
  /// log-probabilities of whole answers, which an endpoint does not give: there the policy judges too.
  Speaker& judge(const std::filesystem::path& policy, bool contrast);

  /// Lets go of all local models, for memory.
  void release() { loaded_.clear(); }

 private:
  const Config& config_;
  std::filesystem::path paid_;
  std::vector<std::pair<std::filesystem::path, std::unique_ptr<Speaker>>> loaded_;  // last used last
  std::map<std::string, std::unique_ptr<Speaker>> endpoints_;                       // by address
};

}  // namespace cai
