#include "cai/stages/prompts.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/base/text.hpp"
#include "cai/data/tags.hpp"
#include "cai/stages/asking.hpp"
#include "cai/stages/clean.hpp"
#include "cai/stages/overlap.hpp"
#include "cai/stages/near_duplicates.hpp"

namespace cai {
namespace {

struct Kind {
  const char* name;
  long wanted;
  std::vector<const Prompt*> drawn;
};

Kind& kind_for(std::vector<Kind>& kinds, const Prompt& prompt) {
  const std::string kind = kind_of_tags(prompt.tags);
  return kind == "red-team" ? kinds[0] : kind == "borderline" ? kinds[1] : kinds[2];
}

// "" or why a generated line is no prompt.
std::string line_problem(const std::string& line, const std::string& finish, bool is_whole) {
  const std::size_t words = words_of(line).size();
  if (finish.starts_with("error")) return "error";
  if (words < 3) return "empty";
  if (words > 60 || !is_whole) return "too long";
  if (is_repeated(line)) return "repeated";
  if (is_meta(line) || line.back() == ':') return "meta";
  return "";
}

// New prompts of one kind: the model goes on with a numbered list that begins with five drawn by seed.
struct Expansion {
  const std::vector<Kind>& kinds;
  NearDuplicates& known;
  Speaker& model;
  Random random;
  std::map<std::string, long> rejected;
  long asked = 0;

  std::vector<Json> generate(long wanted) {
    constexpr std::size_t kShown = 5;
    std::vector<Json> found;
    std::vector<const Kind*> sources;
    for (const Kind& kind : kinds)
      if (kind.drawn.size() >= 2) sources.push_back(&kind);
    if (sources.empty()) throw InputError("prompts.expand: needs at least two prompts of a kind to go by");
    for (int batch = 0; batch < 8 && static_cast<long>(found.size()) < wanted; ++batch) {
      const long missing = wanted - static_cast<long>(found.size());
      std::vector<Ask> asks;
      std::vector<const Kind*> kind_of_ask;
      for (long k = 0; k < missing + missing / 2 + 4; ++k) {
        Random mine = random.derive(static_cast<std::uint64_t>(batch)).derive(static_cast<std::uint64_t>(k));
        // Kinds in proportion to what was drawn of them.
        std::vector<double> weights;
        for (const Kind* kind : sources)
          weights.push_back(static_cast<double>(kind->drawn.size()));
        const Kind& kind = *sources[draw_weighted(weights, mine.derive("kind"))];
        std::string list;
        const std::vector<std::size_t> order = mine.derive("shown").permutation(kind.drawn.size());
        const std::size_t shown = std::min(kShown, order.size());
        for (std::size_t i = 0; i < shown; ++i)
          list += std::to_string(i + 1) + ". " + one_line(kind.drawn[order[i]]->text) + "\n";
        asks.push_back(
            {.messages = {{"user", "List " + std::to_string(shown + 1) +
                                       " different things that people ask an assistant, one a line."}},
             .opening = list + std::to_string(shown + 1) + ".",
             .max_new_tokens = 64,
             .temperature = 1.0,
             .top_p = 0.95,
             .random = mine.derive("words")});
        kind_of_ask.push_back(&kind);
      }
      std::vector<Reply> replies(asks.size());
      model.say(asks, [&](std::size_t i, Reply reply) { replies[i] = std::move(reply); });
      asked += static_cast<long>(asks.size());
      for (std::size_t i = 0; i < asks.size() && static_cast<long>(found.size()) < wanted; ++i) {
        std::string text = replies[i].text.starts_with(asks[i].opening)
                               ? replies[i].text.substr(asks[i].opening.size())
                               : replies[i].text;
        const std::size_t end = text.find('\n', text.find_first_not_of(" \n"));
        const bool is_whole = end != text.npos || replies[i].finish == "stop";
        const std::string line = strip_meta(text.substr(0, end));
        std::string why = line_problem(line, replies[i].finish, is_whole);
        if (why.empty() && known.has_like(line)) why = "near-duplicate";
        if (!why.empty()) {
          ++rejected[why];
          continue;
        }
        known.add(line);
        found.push_back({{"id", "generated-" + sha256(line).substr(0, 12)},
                         {"prompt", line},
                         {"tags", {kind_of_ask[i]->name, "generated"}},
                         {"split", "train"}});
      }
    }
    return found;
  }

  static std::string one_line(std::string text) {
    std::replace(text.begin(), text.end(), '\n', ' ');
    return text.substr(0, 400);
  }
};

// Some of one kind's prompts in the words of wrappers, each drawn by seed.
std::vector<Json> in_wrappers(const PromptsConfig& config, const Kind& kind,
                              const std::vector<Attack>& wrappers, const Random& random) {
  std::vector<std::size_t> chosen = random.derive(kind.name).permutation(kind.drawn.size());
  chosen.resize(static_cast<std::size_t>(wrapped_count(config, static_cast<long>(chosen.size()))));
  std::sort(chosen.begin(), chosen.end());
  std::vector<Json> records;
  for (const std::size_t i : chosen) {
    const Prompt& prompt = *kind.drawn[i];
    const Attack& wrapper = wrappers[random.derive(prompt.id).below(wrappers.size())];
    Json record = to_json(prompt);
    record["id"] = prompt.id + "/" + wrapper.name;
    record["prompt"] = attacked(wrapper, prompt.text);
    record["split"] = "train";
    record["wrapper"] = wrapper.name;
    record["request"] = prompt.text;
    records.push_back(std::move(record));
  }
  return records;
}

}  // namespace

long wrapped_count(const PromptsConfig& config, long drawn) {
  return std::lround(config.wrapped * static_cast<double>(drawn));
}

Json prompts(const PromptsConfig& config, const std::vector<Prompt>& all,
             const std::vector<std::string>& asked_elsewhere, const std::vector<Attack>& wrappers,
             RecordWriter& out, Speaker* model, Random random, const ProgressFn& progress) {
  NearDuplicates known(config.near_duplicate), held_out(config.near_duplicate);
  std::vector<std::string> evaluated = asked_elsewhere;
  for (const Prompt& p : all)
    if (p.split == "held-out") evaluated.push_back(p.text);
  for (const std::string& text : evaluated)
    held_out.add(text);

  std::vector<Kind> kinds{{"red-team", config.red_team, {}},
                          {"borderline", config.borderline, {}},
                          {"ordinary", config.ordinary, {}}};
  std::map<std::string, long> left_out;
  std::set<std::string> ids;
  std::vector<Json> records;
  for (std::size_t i : random.derive("draw").permutation(all.size())) {
    const Prompt& prompt = all[i];
    if (prompt.split == "held-out") continue;
    Kind& kind = kind_for(kinds, prompt);
    if (static_cast<long>(kind.drawn.size()) >= kind.wanted)
      ++left_out["over the limit"];
    else if (held_out.has_like(prompt.text))
      ++left_out["like a held-out prompt"];
    else if (known.has_like(prompt.text))
      ++left_out["near-duplicate"];
    else
      known.add(prompt.text), kind.drawn.push_back(&prompt);
  }
  for (Kind& kind : kinds) {
    std::sort(kind.drawn.begin(), kind.drawn.end());  // the input's order
    for (const Prompt* prompt : kind.drawn) {
      Json record = to_json(*prompt);
      record["split"] = "train";
      ids.insert(prompt->id);
      records.push_back(std::move(record));
    }
  }
  const std::size_t plain = records.size();
  if (!wrappers.empty()) {
    for (const Kind& kind : kinds)
      for (Json& record : in_wrappers(config, kind, wrappers, random.derive("wrap")))
        if (ids.insert(record["id"].get<std::string>()).second) records.push_back(std::move(record));
  }
  Json figures = {{"records", 0},
                  {"wrapped", records.size() - plain},
                  {"red-team", kinds[0].drawn.size()},
                  {"borderline", kinds[1].drawn.size()},
                  {"ordinary", kinds[2].drawn.size()}};
  if (config.expand > 0) {
    if (!model) throw Bug("prompts.expand without a model");
    for (const std::string& text : evaluated)
      known.add(text);
    const std::size_t before = records.size();
    Expansion expansion{kinds, known, *model, random.derive("expand"), {}, 0};
    for (Json& record : expansion.generate(config.expand)) {
      if (ids.insert(record["id"].get<std::string>()).second) records.push_back(std::move(record));
    }
    figures["generated"] = records.size() - before;
    figures["asked"] = expansion.asked;
    figures["rejected"] = expansion.rejected;
  }
  // All of it follows from the input and the seed; what an interrupted process wrote already is the same.
  for (std::size_t i = out.already_written().size(); i < records.size(); ++i)
    out.write(i, records[i]);
  out.flush();
  if (progress)
    progress({"prompts", static_cast<long>(records.size()), static_cast<long>(records.size()),
              model ? model->usage().tokens : 0, ""});
  figures["records"] = records.size();
  figures["left_out"] = left_out;
  return figures;
}

}  // namespace cai
