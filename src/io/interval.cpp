#include "cai/io/interval.hpp"

#include <cstdio>
#include <limits>

namespace cai {
namespace {

double bound(const Json& json, const char* name, double otherwise) {
  const auto found = json.find(name);
  return found != json.end() && found->is_number() ? found->get<double>() : otherwise;
}

}  // namespace

Json interval_json(const Interval& i) {
  Json json = {{"value", i.value}, {"low", i.low}, {"high", i.high}, {"n", i.n}};
  if (!i.is_known()) {
    json["low"] = nullptr;
    json["high"] = nullptr;
  }
  if (i.prompts > 0 && i.prompts < i.n) json["prompts"] = i.prompts;
  return json;
}

Interval interval_of(const Json& json) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  Interval interval{bound(json, "value", 0), bound(json, "low", -kInfinity), bound(json, "high", kInfinity)};
  interval.n = static_cast<long>(bound(json, "n", 0));
  interval.prompts = static_cast<long>(bound(json, "prompts", 0));
  return interval;
}

std::string interval_text(const Json& json) {
  const Interval i = interval_of(json);
  char text[96];
  if (i.is_known())
    std::snprintf(text, sizeof text, "%.3g [%.3g, %.3g]", i.value, i.low, i.high);
  else
    std::snprintf(text, sizeof text, "%.3g (all the same)", i.value);
  return text;
}

}  // namespace cai
