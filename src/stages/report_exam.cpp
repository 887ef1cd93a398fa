// What the judge is worth.
#include <algorithm>
#include <map>

#include "cai/stages/asking.hpp"
#include "cai/stages/report_run.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

std::string word(const std::string& name) {
  static const std::map<std::string, std::string> words = {
      {"before", "before fine-tuning"},
      {"after", "after fine-tuning"},
      {"constitution", "the constitution's tests and exemplars"},
      {"people", "people's pairs"}};
  const auto found = words.find(name);
  return found == words.end() ? name : found->second;
}

// "before" and "after" first, then judges of other names.
std::vector<std::string> judges_of(const Json& exam) {
  std::vector<std::string> names;
  for (const char* name : {"before", "after"})
    if (exam["judges"].contains(name)) names.push_back(name);
  for (const auto& [name, figures] : exam["judges"].items())
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  return names;
}

Table exam_table(const Json& exam) {
  Table table{{"part", "judge", "right", "took the first answer", "calibration error"}, {}};
  const std::vector<std::string> names = judges_of(exam);
  for (const char* part : {"constitution", "people"})
    for (const std::string& name : names) {
      const Json& mine = exam["judges"][name];
      if (!mine.contains(part)) continue;
      const Json& f = mine.at(part);
      const double error = field(f, "calibration_error");
      table.rows.push_back({text_cell(word(part)), text_cell(word(name)),
                            interval_cell(f.at("accuracy"), true), interval_cell(f.at("first_slot"), true),
                            Cell{number(error, 2), error, true, false}});
    }
  return table;
}

void one_exam(Page& page, const Json& exam, bool kinds) {
  page.paragraph(exam["sentence"].is_string() ? exam["sentence"].get<std::string>() : "");
  if (exam.contains("judges") && exam["judges"].is_object()) {
    const Table table = exam_table(exam);
    if (!table.rows.empty()) {
      page.add(table.html());
      page.note(
          "Each pair is asked in both orders; 50 % of first answers is unbiased. The calibration error is "
          "the mean "
          "distance of P(better) from the share that was better, over ten bins.");
    }
  }
  if (kinds && optional_text(exam, "method") == "contrast")
    page.paragraph(
        "Labels were therefore made by contrast: one candidate was written under a principle, one under its "
        "opposite, others without an instruction; the label is which of two does what the request asks for, "
        "declining a harmful one and answering a harmless one. Only where both answer a harmless request "
        "does the "
        "principle decide.");
}

}  // namespace

void report_exam(Page& page, const ReportRun& run) {
  bool is_begun = false;
  for (const fs::path& round : run.rounds) {
    const Json exam = figures_of(round / "exam");
    if (!exam.is_object() || !exam.contains("sentence")) continue;
    if (!is_begun) page.section("exam", "Exam: what the judge is worth");
    is_begun = true;
    if (const std::string name = run.round_name(round); !name.empty()) page.heading(name);
    one_exam(page, exam, has_kinds(round));
  }
}

}  // namespace cai
