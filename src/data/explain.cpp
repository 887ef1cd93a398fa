#include "cai/data/explain.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <set>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/data/constitution.hpp"
#include "cai/data/preference.hpp"
#include "cai/data/run_folder.hpp"
#include "cai/data/similarity.hpp"
#include "cai/io/records.hpp"

namespace cai {

namespace fs = std::filesystem;

const char* const kRecordLimits =
    "This shows what was asked, answered and judged while the training data were made, and what was trained "
    "on it. It does not show why the trained model says what it says: "
    "no single record is known to have caused an answer. A log-odds is what the judging model said when "
    "asked, not a reason that it acted on. "
    "\"Nearest\" means alike in words (TF-IDF cosine over the content words of prompts): a paraphrase can be "
    "missed, and a look-alike can have taught nothing.";

namespace {

std::string text_of(const Json& record, const char* field) {
  const auto value = record.find(field);
  return value != record.end() && value->is_string() ? value->get<std::string>() : "";
}

std::vector<Json> records_of(const fs::path& folder) {
  return fs::exists(folder / "manifest.json") ? read_records(folder) : std::vector<Json>();
}

// What became of each id: "" when the stage did not say.
std::map<std::string, Json> uses_of(const fs::path& stage) {
  std::map<std::string, Json> uses;
  if (const fs::path file = stage / "examples.jsonl"; fs::exists(file))
    for (const Json& use : read_records(file))
      uses[text_of(use, "id")] = use;
  return uses;
}

std::string use_text(const std::map<std::string, Json>& uses, const std::string& id) {
  if (uses.empty()) return "not recorded";
  const auto found = uses.find(id);
  if (found == uses.end()) return "not used";
  const std::string why = text_of(found->second, "why");
  return text_of(found->second, "use") + (why.empty() ? "" : ": " + why);
}

Json label_story(const Constitution& constitution, const Json& label,
                 const std::map<std::string, Json>& reward_uses) {
  const double p = label.at("p").get<double>();
  Json story = {{"id", text_of(label, "id")},
                {"a", text_of(label, "a")},
                {"b", text_of(label, "b")},
                {"p", p},
                {"better", p > 0.5   ? "a"
                           : p < 0.5 ? "b"
                                     : "neither"}};
  Json for_it = Json::array(), against = Json::array();
  std::vector<View> views = views_of(constitution, label);
  std::stable_sort(views.begin(), views.end(),
                   [](const View& x, const View& y) { return std::abs(x.log_odds) > std::abs(y.log_odds); });
  for (const View& v : views)
    ((v.log_odds > 0) == (p > 0.5) ? for_it : against)
        .push_back({{"principle", v.principle->id},
                    {"text", v.principle->text},
                    {"log_odds", v.log_odds},
                    {"is_clear", std::abs(v.log_odds) >= kClear}});
  story["for"] = for_it, story["against"] = against;
  for (const char* field :
       {"principle", "reason", "method", "orders_agree", "by_rank", "tie", "problem", "human"})
    if (label.contains(field)) story[field] = label[field];
  story["reward"] = use_text(reward_uses, text_of(label, "id"));
  return story;
}

}  // namespace

Json explain_record(const fs::path& run, const std::string& id, std::size_t nearest_wanted) {
  if (!fs::exists(run / "run.json")) throw InputError(run.string() + ": not a run folder (no run.json)");
  const Constitution constitution = read_constitution(run / "constitution.yaml");
  Json result = {{"id", id},
                 {"prompt", ""},
                 {"iterations", Json::array()},
                 {"nearest", Json::array()},
                 {"limits", kRecordLimits}};
  std::vector<std::string> known;
  std::vector<Json> training;  // prompts with their uses, for the neighbours
  std::string prompt, base = id;
  for (const fs::path& iteration : iterations_of(run)) {
    Json story = {{"iteration", iteration.filename().string()}};
    const std::map<std::string, Json> sft_uses = uses_of(iteration / "sft"),
                                      reward_uses = uses_of(
                                          iteration / (fs::exists(iteration / "dpo") ? "dpo" : "reward"));
    std::map<std::string, Json> labelled;  // by prompt id: labels
    Json labels = Json::array();
    for (const Json& label : records_of(iteration / "label")) {
      if (!is_label(label))
        throw InputError((iteration / "label").string() + ": holds something that is no label");
      const std::string own = text_of(label, "id"),
                        parent = label.contains("prompt_id") ? text_of(label, "prompt_id") : own;
      known.push_back(own);
      labelled[parent].push_back({{"id", own}, {"p", label.at("p")}, {"reward", use_text(reward_uses, own)}});
      if (own != id && parent != id) continue;
      base = parent;
      prompt = text_of(label, "prompt");
      labels.push_back(label_story(constitution, label, reward_uses));
    }
    const std::vector<fs::path> revised = stage_folders(run, "revise");
    const auto revise = std::find_if(revised.begin(), revised.end(),
                                     [&](const fs::path& f) { return f.parent_path() == iteration; });
    std::map<std::string, Json> answers;
    for (const Json& r : records_of(iteration / "generate"))
      answers[text_of(r, "id")] = r;
    if (revise != revised.end())
      for (const Json& r : records_of(*revise))
        answers[text_of(r, "id")] = r;
    if (const auto found = answers.find(base); found != answers.end()) {
      const Json& r = found->second;
      prompt = text_of(r, "prompt");
      if (r.contains("tags")) story["tags"] = r["tags"];
      story["response"] = text_of(r, "response");
      if (r.contains("revision"))
        story["critique"] = {{"principle", text_of(r, "principle")},
                             {"critique", text_of(r, "critique")},
                             {"critique_problem", text_of(r, "critique_problem")},
                             {"revision", text_of(r, "revision")},
                             {"revision_problem", text_of(r, "revision_problem")}};
      story["sft"] = use_text(sft_uses, base);
      story["ppo"] = fs::exists(iteration / "ppo" / "manifest.json")
                         ? "among the prompts that rollouts draw from"
                         : "no PPO";
    }
    for (const auto& [one, r] : answers) {
      known.push_back(one);
      training.push_back({{"id", one},
                          {"iteration", iteration.filename().string()},
                          {"prompt", text_of(r, "prompt")},
                          {"tags", r.contains("tags") ? r["tags"] : Json::array()},
                          {"sft", use_text(sft_uses, one)},
                          {"labels", labelled.count(one) ? labelled[one] : Json::array()}});
    }
    if (!labels.empty()) story["labels"] = labels;
    Json evaluated = Json::array();
    for (const Json& r : records_of(iteration / "eval")) {
      known.push_back(text_of(r, "id"));
      if (text_of(r, "id") != base) continue;
      prompt = text_of(r, "prompt");
      Json one = {{"model", text_of(r, "model")}, {"response", text_of(r, "response")}};
      for (const char* field : {"refusal", "complies", "passed"})
        if (r.contains(field) && r[field].is_boolean()) one[field] = r[field];
      evaluated.push_back(one);
    }
    if (!evaluated.empty()) story["eval"] = evaluated;
    if (story.size() > 1) result["iterations"].push_back(story);
  }
  if (result["iterations"].empty()) {
    const std::string near = nearest(id, known);
    throw InputError(
        run.string() + ": no record \"" + printable(id) + "\"" +
        (near.empty() ? "; ids stand in iter-01/label/*.jsonl" : "; did you mean " + near + "?"));
  }
  result["prompt"] = prompt;

  std::vector<std::string> texts = {prompt};
  for (const Json& t : training)
    texts.push_back(t["prompt"]);
  const std::vector<WordVector> vectors = tf_idf(texts);
  std::vector<std::pair<double, std::size_t>> order;
  for (std::size_t i = 0; i < training.size(); ++i)
    if (training[i]["id"] != base) order.emplace_back(cosine(vectors[0], vectors[i + 1]), i);
  std::stable_sort(order.begin(), order.end(),
                   [](const auto& x, const auto& y) { return x.first > y.first; });
  for (std::size_t k = 0; k < std::min(nearest_wanted, order.size()) && order[k].first > 0; ++k) {
    Json one = training[order[k].second];
    one["similarity"] = order[k].first;
    result["nearest"].push_back(one);
  }
  return result;
}

namespace {

std::string number(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%+.2f", x);
  return text;
}

}  // namespace

std::string explanation_text(const Json& e) {
  std::string out;
  const auto line = [&](const std::string& text) { out += text + "\n"; };
  const auto show = [](const Json& j, const char* field) { return printable(text_of(j, field)); };
  const auto says = [](const Json& j, const char* field, bool value) {
    return j.contains(field) && j[field].is_boolean() && j[field].get<bool>() == value;
  };
  line(show(e, "id") + ": " + show(e, "prompt"));
  for (const Json& it : e["iterations"]) {
    line("\n" + show(it, "iteration"));
    if (it.contains("response")) line("  first answer  " + show(it, "response"));
    if (it.contains("critique")) {
      const Json& c = it["critique"];
      if (text_of(c, "principle").empty())
        line("  critique      none: answers to harmless prompts are not criticised");
      else {
        line("  critique      [" + show(c, "principle") + "] " + show(c, "critique"));
        line("  revision      " + show(c, "revision") +
             (text_of(c, "revision_problem").empty() ? ""
                                                     : "  (left out: " + show(c, "revision_problem") + ")"));
      }
    }
    if (it.contains("sft")) line("  in sft        " + show(it, "sft"));
    if (it.contains("ppo")) line("  in ppo        " + show(it, "ppo"));
    if (it.contains("labels")) {
      for (const Json& l : it["labels"]) {
        char p[48];
        std::snprintf(p, sizeof p, "P(A better) %.2f", l["p"].get<double>());
        line("\n  label " + show(l, "id") + ": " + p + ", by " + show(l, "method") +
             (l.contains("human") ? "; a person said " + l["human"].dump() : ""));
        line("    A: " + show(l, "a"));
        line("    B: " + show(l, "b"));
        for (const char* side : {"for", "against"})
          for (const Json& v : l[side])
            line(std::string("    ") +
                 (std::string(side) == "for" ? "for the better  " : "against it      ") +
                 number(v["log_odds"].get<double>()) + "  " + show(v, "principle") +
                 (v["is_clear"].get<bool>() ? "" : " (not clear)"));
        line("    reason: " + show(l, "reason"));
        if (text_of(l, "method") == "choice" && says(l, "orders_agree", false))
          line(
              "    the choice changes with the order of the answers: the judge saw the place, not only the "
              "text");
        if (says(l, "by_rank", true)) line("    a principle of a higher rank overruled the others");
        line("    in reward: " + show(l, "reward"));
      }
    }
    if (it.contains("eval"))
      for (const Json& v : it["eval"])
        line("  " + show(v, "model") + " answers: " + show(v, "response") +
             (v.contains("passed") ? (v["passed"].get<bool>() ? "  (test passed)" : "  (test failed)") : ""));
  }
  line(e["nearest"].empty() ? "\nno training prompt shares a word of content"
                            : "\nnearest training prompts (TF-IDF cosine over words of content)");
  for (const Json& n : e["nearest"]) {
    char s[16];
    std::snprintf(s, sizeof s, "%.2f", n["similarity"].get<double>());
    line("  " + std::string(s) + "  " + show(n, "id") + "  " + show(n, "prompt") +
         "\n        sft: " + show(n, "sft") + "; " + std::to_string(n["labels"].size()) + " labels");
  }
  line("\n" + std::string(kRecordLimits));
  return out;
}

}  // namespace cai
