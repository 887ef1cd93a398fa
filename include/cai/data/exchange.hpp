// Exchanges: what somebody asked and what a model answered, out of logs in the forms that other programs
// write (docs/reference/data-files.md).
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "cai/data/rows.hpp"
#include "cai/io/json.hpp"

namespace cai {

struct Exchange {
  std::string id;
  std::string prompt;  // of several turns all before the answer, as a transcript
  std::string answer;  // without the thinking block that it begins with; may be "" (a request alone)
  std::vector<std::string> tags;
  Json extra = Json::object();  // of the record: model, time, violates, as far as it has them
  long number = 0;              // Rows::number
};

struct Exchanges {
  std::string file;
  std::vector<Exchange> list;
  std::vector<std::string> problems;  // what could not be read, each with its place; the others stand in
                                      // `list`
  long passed_over = 0;               // records of a known form that hold no exchange (a trace, a span)
};

/// Our name of a field (prompt, answer, id, tags) to the record's own, "a.b" for a field of a field.
using FieldMap = std::map<std::string, std::string>;

/// Reads FIELD=NAME texts. Throws UsageError for another field and for one that is given twice.
FieldMap read_field_map(const std::vector<std::string>& given);

/// The exchanges of records in any of these forms, told by their fields, record by record:
///   flat           prompt, messages or conversations, with answer, response, completion or output
///   request log    {request, response}, or messages with choices or response (OpenAI clients, LiteLLM);
///                  streamed chunks are joined
///   batch files    {custom_id, body} and {custom_id, response}, joined by custom_id
///   messages       that end with an answer
///   conversation   several answers: each is an exchange with what stands before it (WildChat, LMSYS)
///   observations   {type: GENERATION, input, output} (Langfuse)
///   spans          OTLP/JSON: gen_ai.*, llm.* (OpenInference) and gen_ai.prompt.N.* (OpenLLMetry)
/// With `map` only the fields that it names are looked at. Ids are made unique by "#2", "#3". A record that
/// cannot be read costs itself: it stands in `problems`. `needs_answer`: a record without an answer is one of
/// those.
Exchanges exchanges_of(Rows rows, const FieldMap& map, bool needs_answer = true);

/// The same of a file of any form that read_rows reads, a stage's folder, or stdin ("-": JSON). Throws
/// InputError when nothing in it is an exchange.
Exchanges read_exchanges(const std::string& path, const FieldMap& map, bool needs_answer = true);

/// The exchanges of one record of OTLP/JSON ({resourceSpans} or {scopeSpans}), each as {id, messages,
/// output}; `others` counts spans that hold none.
std::vector<Json> exchanges_of_spans(const Json& record, long& others);

}  // namespace cai
