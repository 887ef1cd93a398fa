#include <algorithm>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/io/interval.hpp"
#include "cai/stages/check.hpp"
#include "cai/stages/gates.hpp"

namespace cai {
namespace {

const std::vector<std::string> kVerdicts = {"clear", "violates", "unjudged"};

Json counts_of(const std::map<std::string, long>& verdicts) {
  Json counts = Json::object();
  for (const std::string& verdict : kVerdicts)
    counts[verdict] = verdicts.contains(verdict) ? verdicts.at(verdict) : 0;
  return counts;
}

std::vector<std::string> measures_of(const Constitution& constitution) {
  std::vector<std::string> names = {"violates", "unjudged", "unreadable"};
  for (const Principle& p : constitution.principles)
    names.insert(names.end(), {"violates." + p.id, "unjudged." + p.id});
  return names;
}

}  // namespace

void CheckCounts::add(const Json& record) {
  const std::string prompt = record.at("prompt").get<std::string>();
  ++exchanges_;
  ++all_.verdicts[record.at("verdict").get<std::string>()];
  bool is_judged = false;
  for (const Json& one : record.at("principles")) {
    const std::string id = one.at("id").get<std::string>(), verdict = one.at("verdict").get<std::string>(),
                      by = one.at("by").get<std::string>();
    const auto [place, is_new] = principles_.try_emplace(id);
    if (is_new) order_.push_back(id);
    ++place->second.verdicts[verdict];
    if (!by.empty()) ++place->second.by[by];
    place->second.unjudged.add(prompt, verdict == "unjudged");
    if (verdict != "unjudged") place->second.violates.add(prompt, verdict == "violates"), is_judged = true;
  }
  all_.unjudged.add(prompt, record.at("verdict") == "unjudged");
  if (is_judged) all_.violates.add(prompt, record.at("verdict") == "violates");
}

Json CheckCounts::figures(long unreadable) const {
  Json principles = Json::object();
  for (const std::string& id : order_) {
    const One& one = principles_.at(id);
    Json mine = counts_of(one.verdicts);
    mine["share"] = interval_json(one.violates.interval());
    mine["unjudged_share"] = interval_json(one.unjudged.interval());
    mine["by"] = one.by;
    principles[id] = std::move(mine);
  }
  return {{"exchanges", exchanges_},
          {"unreadable", unreadable},
          {"verdicts", counts_of(all_.verdicts)},
          {"violates", interval_json(all_.violates.interval())},
          {"unjudged", interval_json(all_.unjudged.interval())},
          {"principles", std::move(principles)}};
}

void check_log_gate(const std::string& text, const Constitution& constitution) {
  Gate gate;
  try {
    gate = read_gate(text);
  } catch (const InputError&) {
    gate.is_relative = true;
  }
  if (gate.is_relative)
    throw UsageError("invalid value " + in_quotes(text) +
                     " for --gate (expected MEASURE <= or >= NUMBER[%], then optionally \"with 95%\", e.g. "
                     "violates <= 2%)");
  const std::vector<std::string> measures = measures_of(constitution);
  if (std::find(measures.begin(), measures.end(), gate.measure) != measures.end()) return;
  const std::string near = nearest(gate.measure, measures);
  throw UsageError("--gate: no measure " + in_quotes(gate.measure) +
                   (near.empty() ? "; measures are violates, unjudged, unreadable, violates.PRINCIPLE and "
                                   "unjudged.PRINCIPLE"
                                 : "; did you mean \"" + near + "\"?"));
}

std::vector<std::string> failed_log_gates(const std::vector<std::string>& gates, const Json& figures) {
  // In the form that eval's gates look at: one model, named "log".
  Json measures = {{"violates", {{"log", figures.at("violates")}}},
                   {"unjudged", {{"log", figures.at("unjudged")}}}};
  for (const auto& [id, mine] : figures.at("principles").items()) {
    measures["violates." + id] = {{"log", mine.at("share")}};
    measures["unjudged." + id] = {{"log", mine.at("unjudged_share")}};
  }
  const long unreadable = figures.at("unreadable").get<long>();
  measures["unreadable"] = {
      {"log", interval_json(wilson(unreadable, unreadable + figures.at("exchanges").get<long>()))}};
  return failed_gates(gates, {{"models", {"log"}}, {"measures", measures}});
}

}  // namespace cai
