#include "cai/stages/label.hpp"

#include "cai/base/log.hpp"
#include "cai/data/constitution.hpp"
#include "cai/stages/clean.hpp"
#include "cai/stages/overlap.hpp"
#include "cai/stages/sentences.hpp"
#include "cai/data/refusal.hpp"
#include "fuzz.hpp"

namespace {

using namespace cai;

// A judge that says and chooses what the input says.
class Judge : public Speaker {
 public:
  explicit Judge(std::string_view bytes) : bytes_(bytes) {}
  void say(std::span<const Ask> asks, const std::function<void(std::size_t, Reply)>& done) override {
    for (std::size_t i = 0; i < asks.size(); ++i)
      done(i, {.text = to_utf8(bytes_), .finish = next() % 2 ? "stop" : "length"});
  }
  std::vector<std::vector<double>> choose(std::span<const Choice> choices) override {
    std::vector<std::vector<double>> all;
    for (std::size_t i = 0; i < choices.size(); ++i) {
      all.emplace_back();
      for (std::size_t k = next() % 4; k > 0; --k)
        all.back().push_back(next() % 3 ? -static_cast<double>(next()) : -INFINITY);
    }
    return all;
  }
  std::vector<LogProbability> score(std::span<const Scored> scored) override {
    return std::vector<LogProbability>(scored.size(), {-1.0 - next(), next() % 3});
  }
  Usage usage() const override { return {}; }

 private:
  std::string_view bytes_;
  std::size_t at_ = 0;
  int next() { return bytes_.empty() ? 0 : static_cast<unsigned char>(bytes_[at_++ % bytes_.size()]); }
};

// Cleaning keeps what is text a text.
void clean(const std::string& text) {
  for (const std::string& made : {cut_at_sentence(text), first_sentences(text, 2), strip_meta(text)}) {
    fuzz::hold(made.size() <= text.size(), "cleaning adds nothing");
    fuzz::hold(is_utf8(made), "cleaning cuts no character");
  }
  is_refusal(text), complies_after_all(text), is_meta(text), is_repeated(text),
      is_on_topic("What is that?", text);
  answer_problem(text, "stop"), revision_problem("What?", "That.", text, "stop", false),
      critique_problem("That.", text, "stop");
}

}  // namespace

// The first byte: how to label. The rest: pairs, and what the judge says.
FUZZ_TARGET(label) {
  if (data.empty()) return;
  set_log_level(LogLevel::kOff);
  clean(to_utf8(data));
  static const Constitution constitution = read_constitution(
      fuzz::file_of("label-rules.yaml",
                    "principles:\n  - {id: no-harm, text: Do not help anyone hurt people., applies_to: "
                    "[red-team]}\n  - {id: kind, text: Be kind and plain to whoever asks.}\n"));
  std::vector<Json> records;
  fuzz::refuses_or_works([&] { records = read_records(fuzz::file_of("pairs.jsonl", data.substr(1))); });
  if (records.empty() || records.size() > 20) return;
  const std::filesystem::path out = fuzz::folder() / "labels";
  std::filesystem::remove_all(out);
  fuzz::refuses_or_works([&] {
    LabelConfig config;
    config.chain_of_thought = data[0] & 1;
    RecordWriter writer(out, "label", "key");
    Judge judge(data);
    const Json figures =
        label(config, constitution, data[0] & 2, records, People(), writer, judge, Random(1), {});
    to_line(figures);
  });
}
