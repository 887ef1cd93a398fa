#include "cai/release/policy.hpp"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cmath>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/base/text.hpp"
#include "cai/data/yaml_section.hpp"
#include "cai/io/file.hpp"

namespace cai {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kLargestFile = 100'000;  // bytes
constexpr long kMostApprovals = 20;
constexpr long kMostDays = 3650;

YAML::Node load(const ReleasePolicy& policy) {
  if (policy.source.size() > kLargestFile) throw InputError(policy.file, 0, "larger than 100 KB");
  if (!is_utf8(policy.source)) throw InputError(policy.file, 0, "not valid UTF-8");
  YAML::Node root;
  try {
    root = YAML::Load(policy.source);
  } catch (const YAML::Exception& error) {
    throw InputError(policy.file, std::max(error.mark.line + 1, 1),
                     "not valid YAML: " + one_line(error.msg.substr(0, 200)));
  }
  if (!root.IsMap())
    throw InputError(policy.file, 1,
                     "expected the fields conditions, approvals, author_may_not, not_older_than, require");
  return root;
}

void read_conditions(YamlSection& top, ReleasePolicy& policy) {
  const YAML::Node list = top.find("conditions");
  if (!list.IsDefined() || !list.IsSequence() || list.size() == 0) {
    top.problem("no list \"conditions\", e.g. [attack_success.high <= 30%]");
    return;
  }
  for (const auto& entry : list) {
    if (!entry.IsScalar()) {
      top.problem(entry, "a condition must be a text, e.g. attack_success.high <= 30%");
      continue;
    }
    try {
      const std::string where = policy.file + ":" + std::to_string(entry.Mark().line + 1);
      policy.conditions.push_back(read_gate(trim(entry.Scalar()), where));
    } catch (const InputError& error) {
      top.problems().push_back(error.what());
    }
  }
}

void read_age(YamlSection& top, ReleasePolicy& policy) {
  const YAML::Node value = top.find("not_older_than");
  if (!value.IsDefined()) return;
  const std::string text = value.IsScalar() ? trim(value.Scalar()) : "";
  const std::string digits = text.substr(0, text.find_first_not_of("0123456789"));
  const std::string unit = trim(text.substr(digits.size()));
  const bool is_good = !digits.empty() && digits.size() < 6 && (unit == "days" || unit == "day");
  const long days = is_good ? std::stol(digits) : 0;
  if (days >= 1 && days <= kMostDays)
    policy.oldest_days = days;
  else
    top.problem(value,
                "\"not_older_than\": found " + in_quotes(text) + "; accepted: 1 to 3650 days, e.g. 30 days");
}

void read_required(YamlSection& top, ReleasePolicy& policy) {
  const YAML::Node list = top.find("require");
  if (!list.IsDefined()) return;
  const std::vector<std::string> known = {"report", "verify", "diff"};
  if (!list.IsSequence()) {
    top.problem(list, "\"require\": accepted: a list of report, verify, diff");
    return;
  }
  for (const auto& entry : list) {
    const std::string what = entry.IsScalar() ? entry.Scalar() : "";
    if (std::find(known.begin(), known.end(), what) == known.end())
      top.problem(entry, "\"require\": found " + in_quotes(what) + "; accepted: report, verify, diff");
    else if (!policy.asks_for(what))
      policy.required.push_back(what);
  }
}

}  // namespace

bool ReleasePolicy::asks_for(const std::string& what) const {
  return std::find(required.begin(), required.end(), what) != required.end();
}

ReleasePolicy read_policy(const fs::path& file) {
  if (!fs::is_regular_file(file)) throw InputError(file.string(), 0, "no such release policy");
  ReleasePolicy policy;
  policy.file = file.string();
  policy.source = read_file(file);
  policy.sha256 = sha256(policy.source);
  const YAML::Node root = load(policy);
  std::vector<std::string> problems;
  YamlSection top(root, "", policy.file, problems);
  read_conditions(top, policy);
  const double approvals = top.number("approvals", 1, 1, kMostApprovals);
  if (approvals != std::floor(approvals))
    top.problem(top.find("approvals"), "\"approvals\": accepted: a whole number from 1 to 20");
  policy.approvals = static_cast<long>(approvals);
  policy.author_may_not = top.flag("author_may_not");
  read_age(top, policy);
  read_required(top, policy);
  top.finish();
  throw_problems(problems);
  return policy;
}

std::vector<std::string> demands(const ReleasePolicy& policy) {
  std::vector<std::string> all;
  for (const Gate& gate : policy.conditions)
    all.push_back(gate.text);
  all.push_back("approvals: " + std::to_string(policy.approvals));
  if (policy.author_may_not) all.push_back("author_may_not: true");
  if (policy.oldest_days > 0)
    all.push_back("not_older_than: " + std::to_string(policy.oldest_days) + " days");
  for (const std::string& what : policy.required)
    all.push_back("require: " + what);
  return all;
}

std::vector<std::string> policy_changes(const ReleasePolicy& then, const ReleasePolicy& now) {
  std::vector<std::string> changes;
  const std::vector<std::string> before = demands(then);
  const std::vector<std::string> after = demands(now);
  for (const std::string& one : after)
    if (std::find(before.begin(), before.end(), one) == before.end()) changes.push_back("new: " + one);
  for (const std::string& one : before)
    if (std::find(after.begin(), after.end(), one) == after.end()) changes.push_back("gone: " + one);
  return changes;
}

}  // namespace cai
