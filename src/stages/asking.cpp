#include "cai/stages/asking.hpp"

#include <algorithm>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/data/tags.hpp"

namespace cai {

std::string record_id(const Json& record, std::size_t index) {
  const auto id = record.find("id");
  if (id == record.end() || id->is_null()) return std::to_string(index);
  return id->is_string() ? id->get<std::string>() : id->dump();
}

const std::string& text_field(const Json& record, const char* field, std::size_t index) {
  const auto value = record.find(field);
  if (value == record.end() || !value->is_string())
    throw InputError("record " + in_quotes(record_id(record, index)) + ": no text in the field \"" + field +
                     "\"");
  return value->get_ref<const std::string&>();
}

std::string optional_text(const Json& record, const char* field) {
  const auto value = record.find(field);
  return value != record.end() && value->is_string() ? value->get<std::string>() : "";
}

bool optional_flag(const Json& record, const char* field, bool otherwise) {
  const auto value = record.find(field);
  return value != record.end() && value->is_boolean() ? value->get<bool>() : otherwise;
}

double optional_number(const Json& record, const char* field, double otherwise) {
  const auto value = record.find(field);
  return value != record.end() && value->is_number() ? value->get<double>() : otherwise;
}

std::vector<std::string> tags_of(const Json& record) {
  std::vector<std::string> tags;
  if (const auto list = record.find("tags"); list != record.end() && list->is_array())
    for (const Json& tag : *list)
      if (tag.is_string()) tags.push_back(tag.get<std::string>());
  return tags;
}

std::string kind_of(const Json& record) {
  return kind_of_tags(tags_of(record));
}

std::vector<Json> ask_records(const std::string& stage, std::size_t records, RecordWriter& out,
                              Speaker& model, const ProgressFn& progress,
                              const std::function<std::vector<Ask>(std::size_t)>& asks_of,
                              const std::function<Json(std::size_t, std::vector<Reply>)>& finish,
                              Speaker* initial) {
  // Bounds the memory of prompts; each end of a window lets the batch run empty. Of two speakers the second
  // begins when the first has said all of a window, and no record is whole before.
  const std::size_t window = initial ? 128 : 4096;
  std::vector<Json> all = out.already_written();
  if (all.size() > records)
    throw InputError(stage + ": the folder holds " + std::to_string(all.size()) +
                     " records, the input only " + std::to_string(records));
  const std::size_t first = all.size();
  all.resize(records);
  const auto tokens_so_far = [&] {
    const Usage first_one = model.usage(), second = initial ? initial->usage() : Usage{};
    return first_one.prompt_tokens + first_one.tokens + second.prompt_tokens + second.tokens;
  };
  const std::int64_t before = tokens_so_far();
  const auto report = [&] {
    if (progress)
      progress({stage, static_cast<long>(out.durable()), static_cast<long>(records), tokens_so_far() - before,
                ""});
  };
  report();
  try {
    for (std::size_t from = first; from < records; from += window) {
      const std::size_t to = std::min(records, from + window);
      struct Asked {
        std::vector<Ask> asks;
        std::vector<std::pair<std::size_t, std::size_t>> place;  // of each ask: record, number in it
      } of_model, of_initial;
      std::vector<std::vector<Reply>> replies(to - from);
      std::vector<std::size_t> missing(to - from);
      const auto complete = [&](std::size_t record) {
        all[record] = finish(record, std::move(replies[record - from]));
        out.write(record, all[record]);
        report();
      };
      for (std::size_t record = from; record < to; ++record) {
        std::vector<Ask> mine = asks_of(record);
        replies[record - from].resize(mine.size());
        missing[record - from] = mine.size();
        for (std::size_t k = 0; k < mine.size(); ++k) {
          Asked& asked = initial && mine[k].to_initial ? of_initial : of_model;
          asked.asks.push_back(std::move(mine[k])), asked.place.emplace_back(record, k);
        }
        if (mine.empty()) complete(record);
      }
      const auto say = [&](Speaker& speaker, const Asked& asked) {
        if (asked.asks.empty()) return;
        speaker.say(asked.asks, [&](std::size_t i, Reply reply) {
          const auto [record, k] = asked.place[i];
          replies[record - from][k] = std::move(reply);
          if (--missing[record - from] == 0) complete(record);
        });
      };
      say(model, of_model);
      if (initial) say(*initial, of_initial);
    }
  } catch (...) {
    out.flush();
    throw;
  }
  out.flush();
  report();
  return all;
}

Json count_by(const std::vector<Json>& records, const char* field) {
  std::map<std::string, long> counts;
  for (const Json& record : records) {
    const auto value = record.find(field);
    ++counts[value == record.end() || value->is_null() ? ""
             : value->is_string()                      ? value->get<std::string>()
                                                       : value->dump()];
  }
  Json result = Json::object();
  for (const auto& [value, n] : counts)
    result[value] = n;
  return result;
}

double mean_of(const std::vector<Json>& records, const char* field) {
  double sum = 0;
  long n = 0;
  for (const Json& record : records)
    if (const auto value = record.find(field); value != record.end() && value->is_number())
      sum += value->get<double>(), ++n;
  return n > 0 ? sum / static_cast<double>(n) : 0;
}

std::size_t draw_weighted(const std::vector<double>& weights, Random random) {
  double total = 0;
  for (double w : weights)
    total += w;
  if (!(total > 0)) return random.below(weights.size());
  double left = random.uniform() * total;
  for (std::size_t i = 0; i < weights.size(); ++i)
    if ((left -= weights[i]) < 0) return i;
  return weights.size() - 1;
}

std::vector<Json> ask_in_windows(
    const std::string& stage, std::size_t records, RecordWriter& out, Speaker& model,
    const ProgressFn& progress, const std::function<std::vector<Ask>(std::size_t)>& asks_of,
    const std::function<std::vector<Json>(std::span<const std::size_t>,
                                          const std::vector<std::vector<Reply>>&)>& finish) {
  constexpr std::size_t kWindow = 64;
  std::vector<Json> all = out.already_written();
  if (all.size() > records)
    throw InputError(stage + ": the folder holds " + std::to_string(all.size()) +
                     " records, the input only " + std::to_string(records));
  const Usage before = model.usage();
  const auto report = [&] {
    const Usage now = model.usage();
    const std::int64_t tokens = now.prompt_tokens + now.tokens - before.prompt_tokens - before.tokens;
    if (progress) progress({stage, static_cast<long>(out.durable()), static_cast<long>(records), tokens, ""});
  };
  report();
  while (all.size() < records) {
    std::vector<std::size_t> which;
    for (std::size_t i = all.size(); i < std::min(records, all.size() + kWindow); ++i)
      which.push_back(i);
    std::vector<std::vector<Reply>> replies(which.size());
    std::vector<Ask> asks;
    std::vector<std::pair<std::size_t, std::size_t>> place;
    for (std::size_t k = 0; k < which.size(); ++k) {
      for (Ask& ask : asks_of(which[k])) {
        place.emplace_back(k, replies[k].size());
        replies[k].emplace_back();
        asks.push_back(std::move(ask));
      }
    }
    model.say(asks, [&](std::size_t a, Reply reply) {
      replies[place[a].first][place[a].second] = std::move(reply);
    });
    for (Json& record : finish(which, replies)) {
      out.write(all.size(), record);
      all.push_back(std::move(record));
    }
    out.flush();
    report();
  }
  return all;
}

std::string quoted_lines(const std::string& text) {
  std::string out = "> ";
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::string_view rest = std::string_view(text).substr(i);
    const bool is_pair = rest.starts_with("\r\n"),
               is_wide = rest.starts_with("\xe2\x80\xa8") || rest.starts_with("\xe2\x80\xa9"),
               is_next = rest.starts_with("\xc2\x85");
    if (is_pair || is_wide || is_next || std::string_view("\n\r\v\f").find(text[i]) != std::string_view::npos)
      out += "\n> ";
    else
      out += text[i];
    if (is_pair || is_next) i += 1;
    if (is_wide) i += 2;
  }
  return out;
}

}  // namespace cai
