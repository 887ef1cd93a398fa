// Rules that a principle's sentence says so plainly that a program can verify them: "Answer in at most three
// sentences." becomes sentences: {at_most: 3}.
#pragma once

#include <string>

namespace cai {

/// The rules of an English sentence as a YAML list on one line, the form of `check:`; "" unless every word of
/// the sentence is accounted for. A sentence with a condition ("if", "when", "unless") is never taken apart.
std::string check_from_text(const std::string& sentence);

}  // namespace cai
