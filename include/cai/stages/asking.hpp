// What the stages that talk to a model share: fields of records, asking for each record resumably, counting.
#pragma once

#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cai/base/progress.hpp"
#include "cai/feedback/speaker.hpp"
#include "cai/io/records.hpp"

namespace cai {

/// A record's name for messages and random streams: its id, else its number in the input.
std::string record_id(const Json& record, std::size_t index);

/// A text field. Throws InputError naming record and field when it is absent or no text.
const std::string& text_field(const Json& record, const char* field, std::size_t index);

/// The same, or "" when it is absent.
std::string optional_text(const Json& record, const char* field);

/// A yes/no or number field; `otherwise` when it is absent or of another type: records of other tools hold
/// anything.
bool optional_flag(const Json& record, const char* field, bool otherwise = false);
double optional_number(const Json& record, const char* field, double otherwise = 0);

/// The strings of `tags`; none when absent.
std::vector<std::string> tags_of(const Json& record);

/// "red-team", "borderline", "ordinary", or "" for a record that has none of these tags (kind_of_tags says
/// what follows).
std::string kind_of(const Json& record);

/// Says for each record what `asks_of` gives (none: the record is finished at once) and writes what `finish`
/// makes of the replies, in the order of the input. Records that `out` holds already are not asked again.
/// Everything written is durable when this returns or throws. `initial`: says the asks that are `to_initial`;
/// without it `model` says all of them. Returns all records of the stage, those of an earlier, interrupted
/// process included.
std::vector<Json> ask_records(const std::string& stage, std::size_t records, RecordWriter& out,
                              Speaker& model, const ProgressFn& progress,
                              const std::function<std::vector<Ask>(std::size_t)>& asks_of,
                              const std::function<Json(std::size_t, std::vector<Reply>)>& finish,
                              Speaker* initial = nullptr);

/// The same in windows of 64 records: `finish` makes a whole window's records at once, so that it may ask
/// about all of them together. replies[k] belong to record which[k].
std::vector<Json> ask_in_windows(
    const std::string& stage, std::size_t records, RecordWriter& out, Speaker& model,
    const ProgressFn& progress, const std::function<std::vector<Ask>(std::size_t)>& asks_of,
    const std::function<std::vector<Json>(std::span<const std::size_t>,
                                          const std::vector<std::vector<Reply>>&)>& finish);

/// Each line behind "> ", as mail quotes: a text that holds a question or an "Answer B:" of its own stays
/// inside.
std::string quoted_lines(const std::string& text);

/// How often each value of a text or boolean field occurs; absent counts as "".
Json count_by(const std::vector<Json>& records, const char* field);

/// Mean of a number field over the records that have it, 0 without any.
double mean_of(const std::vector<Json>& records, const char* field);

/// One index, with chances in proportion to the weights (not all zero: then uniform).
std::size_t draw_weighted(const std::vector<double>& weights, Random random);

}  // namespace cai
