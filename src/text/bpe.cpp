#include "cai/text/bpe.hpp"

#include <algorithm>
#include <set>
#include <unordered_map>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/text/bpe_model.hpp"

namespace cai {
namespace {

// The pre-tokenisers' patterns, as the models' own files state them.
constexpr const char* kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr const char* kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kDigit = R"(\p{N})";

// GPT-2's alphabet: each byte as a printable character; bytes that print stand for themselves, the others follow from U+0100 on.
const std::vector<std::uint32_t>& byte_characters() {
  static const std::vector<std::uint32_t> table = [] {
    std::vector<std::uint32_t> t(256, 0);
    std::uint32_t next = 256;
    for (std::uint32_t b = 0; b < 256; ++b) {
      const bool prints = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || (b >= 0xae);
      t[b] = prints ? b : next++;
    }
    return t;
  }();
  return table;
}

// The bytes that a token of the alphabet stands for; nothing for a text outside the alphabet (an added token).
std::optional<std::string> to_bytes(const std::string& characters) {
  static const std::unordered_map<std::uint32_t, char> inverse = [] {
    std::unordered_map<std::uint32_t, char> m;
    for (std::uint32_t b = 0; b < 256; ++b) m[byte_characters()[b]] = static_cast<char>(b);
    return m;
  }();
  std::string out;
  for (std::size_t i = 0; i < characters.size();) {
    const unsigned char b = static_cast<unsigned char>(characters[i]);
    std::uint32_t c = b;
    std::size_t n = 1;
    if (b >= 0xe0) return std::nullopt;
    if (b >= 0xc0) {
      if (i + 1 >= characters.size()) return std::nullopt;
      c = (b & 31u) << 6 | (static_cast<unsigned char>(characters[i + 1]) & 63u), n = 2;
    }
    const auto it = inverse.find(c);
    if (it == inverse.end()) return std::nullopt;
    out += it->second;
    i += n;
  }
  return out;
}

// Tokens and merges into the tables; `specials` and added tokens are kept apart from what text can reach.
void fill(Bpe& bpe, const std::vector<std::string>& tokens, const std::vector<std::pair<std::string, std::string>>& merges, const std::string& file) {
  std::set<int> added;
  for (const AddedToken& t : bpe.added) added.insert(t.id);
  for (std::size_t i = 0; i < tokens.size(); ++i)
    if (!is_utf8(tokens[i])) throw InputError(file, 0, "token " + std::to_string(i) + " is not valid UTF-8");
  bpe.bytes.resize(tokens.size());
  bpe.controls.assign(tokens.size(), 0);
  std::unordered_map<std::string_view, int> ids;
  ids.reserve(tokens.size()), bpe.by_bytes.reserve(tokens.size()), bpe.merges.reserve(merges.size());
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const int id = static_cast<int>(i);
    ids.emplace(tokens[i], id);
    const std::optional<std::string> raw = to_bytes(tokens[i]);
    bpe.bytes[i] = added.count(id) || !raw ? tokens[i] : *raw;
    if (raw && !added.count(id)) bpe.by_bytes.emplace(*raw, id);
  }
  for (const AddedToken& t : bpe.added)
    if (t.special) bpe.controls[static_cast<std::size_t>(t.id)] = 1;
  int rank = 0;
  std::string both;
  for (const auto& [a, b] : merges) {
    both.assign(a).append(b);
    const auto left = ids.find(a), right = ids.find(b), result = ids.find(both);
    if (left == ids.end() || right == ids.end() || result == ids.end())
      throw InputError(file, 0, "merge " + std::to_string(rank) + " (" + in_quotes(a) + " " + in_quotes(b) + ") names a token that is not in the vocabulary");
    // The promise of encode(): whatever a text spells, it becomes no control token.
    if (bpe.controls[static_cast<std::size_t>(result->second)]) throw InputError(file, 0, "merge " + std::to_string(rank) + " makes the control token " + in_quotes(result->first) + " out of text");
    bpe.merges.emplace(pair_key(left->second, right->second), Merge{rank++, result->second});
  }
}

std::pair<std::string, std::string> split_merge(const std::string& text, const std::string& file) {
  const std::size_t space = text.size() < 3 ? text.npos : text.find(' ', 1);
  if (space == text.npos) throw InputError(file, 0, "merge " + in_quotes(text) + " is not two tokens with a space between");
  return {text.substr(0, space), text.substr(space + 1)};
}

void read_pre_tokeniser(Bpe& bpe, const SortedJson& j, const std::string& file) {
  const std::string type = j.value("type", "");
  if (type == "Sequence") {
    for (const SortedJson& part : j.at("pretokenizers")) read_pre_tokeniser(bpe, part, file);
  } else if (type == "ByteLevel") {
    bpe.prefix_space |= j.value("add_prefix_space", true);
    if (j.value("use_regex", true)) bpe.cuts.emplace_back(kGpt2);
  } else if (type == "Digits") {
    bpe.cuts.emplace_back(j.value("individual_digits", false) ? kDigit : R"(\p{N}+)");
  } else if (type == "Split") {
    const SortedJson& pattern = j.at("pattern");
    if (!pattern.contains("Regex") || j.value("behavior", "") != "Isolated" || j.value("invert", false))
      throw InputError(file, 0, "pre-tokeniser Split: accepted: a Regex pattern with behavior Isolated");
    try {
      bpe.cuts.emplace_back(pattern["Regex"].get<std::string>());
    } catch (const InputError& e) {
      throw InputError(file, 0, e.what());
    }
  } else {
    throw InputError(file, 0, "pre-tokeniser " + in_quotes(type) + "; accepted: Sequence, ByteLevel, Digits, Split");
  }
}

std::string token_text(const Json& j) {
  if (j.is_string()) return j.get<std::string>();
  return j.is_object() && j.contains("content") && j["content"].is_string() ? j["content"].get<std::string>() : "";
}

// Whether no text may become this token: one that is declared so, or that a chat format writes.
bool is_special(bool declared, const std::string& content) {
  const std::vector<std::string>& markers = chat_markers();
  return declared || std::find(markers.begin(), markers.end(), content) != markers.end();
}

}  // namespace

bool flag_of(const Json& config, const char* name, bool otherwise) {
  const auto value = config.find(name);
  return value != config.end() && value->is_boolean() ? value->get<bool>() : otherwise;
}

std::shared_ptr<const Tokenizer> bpe_from_json(const SortedJson& j, const Json& config, const std::string& file) {
  auto bpe = std::make_shared<Bpe>();
  try {
    const SortedJson& model = j.at("model");
    if (const std::string type = model.value("type", "BPE"); type != "BPE") throw InputError(file, 0, "tokenizer model " + in_quotes(type) + "; accepted: BPE");
    if (model.value("byte_fallback", false)) throw InputError(file, 0, "a sentencepiece tokenizer converted to tokenizer.json; use its tokenizer.model");
    bpe->ignore_merges = model.value("ignore_merges", false);
    if (j.contains("normalizer") && !j["normalizer"].is_null()) {
      // NFC changes only text that is not composed yet; we state it rather than do half of it.
      if (j["normalizer"].value("type", "") != "NFC") throw InputError(file, 0, "normaliser " + in_quotes(j["normalizer"].value("type", "")) + "; accepted: none, NFC");
    }
    if (!j.contains("pre_tokenizer") || j["pre_tokenizer"].is_null()) throw InputError(file, 0, "no pre_tokenizer; a byte-level one is needed");
    read_pre_tokeniser(*bpe, j["pre_tokenizer"], file);
    std::size_t size = 0;
    const SortedJson& vocab = model.at("vocab");
    const SortedJson added = j.value("added_tokens", SortedJson::array());
    if (!vocab.is_object() || !added.is_array()) throw InputError(file, 0, "model.vocab must be an object and added_tokens a list");
    // Ids may have gaps, but not more gaps than tokens: a table of all ids is made.
    const std::size_t most = std::min<std::size_t>(10'000'000, 2 * (vocab.size() + added.size()) + 1000);
    const auto id_of = [&](const SortedJson& id, const std::string& token) {
      if (!id.is_number_integer() || (!id.is_number_unsigned() && id.get<std::int64_t>() < 0) || id.get<std::uint64_t>() >= most)
        throw InputError(file, 0, "the id of the token " + in_quotes(token) + " is " + one_line(id.dump().substr(0, 100)) + "; accepted: a whole number below " + std::to_string(most));
      size = std::max(size, id.get<std::size_t>() + 1);
      return id.get<int>();
    };
    for (const auto& [token, id] : vocab.items()) id_of(id, token);
    const std::string bos = config.contains("bos_token") ? token_text(config["bos_token"]) : "", eos = config.contains("eos_token") ? token_text(config["eos_token"]) : "";
    std::set<int> ids;
    for (const SortedJson& t : added) {
      const std::string content = t.at("content").get<std::string>();
      if (!ids.insert(id_of(t.at("id"), content)).second)  // one of them may be a control token, the other a space
        throw InputError(file, 0, "two added tokens have the id " + t["id"].dump() + ", the second is " + in_quotes(content));
      bpe->added.push_back({content, id_of(t.at("id"), content), is_special(t.value("special", false) || content == bos || content == eos, content)});
    }
    std::vector<std::string> tokens(size);
    for (const auto& [token, id] : vocab.items()) tokens[id.get<std::size_t>()] = token;
    for (const AddedToken& t : bpe->added) tokens[static_cast<std::size_t>(t.id)] = t.content;
    std::vector<std::pair<std::string, std::string>> merges;
    for (const SortedJson& m : model.at("merges")) {
      if (m.is_array()) merges.emplace_back(m.at(0).get<std::string>(), m.at(1).get<std::string>());
      else merges.push_back(split_merge(m.get<std::string>(), file));
    }
    fill(*bpe, tokens, merges, file);
  } catch (const SortedJson::exception& e) {
    const std::string what = e.what();  // "[json.exception...] key 'model' not found"
    throw InputError(file, 0, "not a tokenizer.json of the expected form: " + one_line(what.substr(what.find("] ") == what.npos ? 0 : what.find("] ") + 2)));
  }
  bpe->json = [j] { return j; };
  bpe->config = config;
  if (config.contains("bos_token")) bpe->bos_id = bpe->control(token_text(config["bos_token"]));
  if (config.contains("eos_token")) bpe->eos_id = bpe->control(token_text(config["eos_token"]));
  bpe->add_bos = flag_of(config, "add_bos_token", false);
  if (config.contains("chat_template") && config["chat_template"].is_string()) bpe->template_text = config["chat_template"].get<std::string>();
  bpe->finish();
  return bpe;
}

std::shared_ptr<const Tokenizer> bpe_from_gguf(const GgufFile& gguf, const std::string& file) {
  const auto find = [&](const std::string& key) -> const GgufValue* {
    const auto it = gguf.metadata.find("tokenizer." + key);
    return it == gguf.metadata.end() ? nullptr : &it->second;
  };
  const auto text = [&](const std::string& key) {
    const GgufValue* v = find(key);
    const std::string* s = v ? std::get_if<std::string>(v) : nullptr;
    return s ? *s : std::string();
  };
  const auto number = [&](const std::string& key) -> std::optional<int> {
    const GgufValue* v = find(key);
    const double* d = v ? std::get_if<double>(v) : nullptr;
    return d && *d >= 0 && *d < 1e9 ? std::optional<int>(static_cast<int>(*d)) : std::nullopt;
  };
  const auto strings = [&](const std::string& key) {
    const GgufValue* v = find(key);
    const GgufArray* a = v ? std::get_if<GgufArray>(v) : nullptr;
    const auto* s = a ? std::get_if<std::vector<std::string>>(a) : nullptr;
    if (!s) throw InputError(file, 0, "metadata \"tokenizer." + key + "\" must be a list of texts");
    return *s;
  };
  if (text("ggml.model") != "gpt2") throw InputError(file, 0, "tokenizer.ggml.model " + in_quotes(text("ggml.model")) + "; accepted: gpt2, llama");
  auto bpe = std::make_shared<Bpe>();
  const std::string pre = text("ggml.pre");
  SortedJson steps = SortedJson::array();
  const auto split_step = [](const char* pattern) {
    return SortedJson{{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}};
  };
  const SortedJson byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}};
  SortedJson byte_level_regex = byte_level;
  byte_level_regex["use_regex"] = true;
  if (pre == "smollm") steps = SortedJson::array({{{"type", "Digits"}, {"individual_digits", true}}, byte_level_regex});
  else if (pre == "gpt-2" || pre == "default" || pre.empty()) steps = SortedJson::array({byte_level_regex});  // braces alone copy the one entry with some compilers
  else if (pre == "llama-bpe") steps = SortedJson::array({split_step(kLlama3), byte_level}), bpe->ignore_merges = true;
  else if (pre == "qwen2") steps = SortedJson::array({split_step(kQwen2), byte_level});
  else throw InputError(file, 0, "tokenizer.ggml.pre " + in_quotes(pre) + "; accepted: smollm, gpt-2, default, llama-bpe, qwen2");
  read_pre_tokeniser(*bpe, {{"type", "Sequence"}, {"pretokenizers", steps}}, file);

  std::vector<std::string> tokens = strings("ggml.tokens");
  std::vector<double> types(tokens.size(), 1);
  if (const GgufValue* v = find("ggml.token_type"))
    if (const GgufArray* a = std::get_if<GgufArray>(v))
      if (const auto* d = std::get_if<std::vector<double>>(a); d && d->size() == tokens.size()) types = *d;
  for (std::size_t i = 0; i < tokens.size(); ++i)
    if (types[i] == 3 || types[i] == 4) bpe->added.push_back({tokens[i], static_cast<int>(i), is_special(types[i] == 3, tokens[i])});  // control, user-defined
  std::vector<std::pair<std::string, std::string>> merges;
  for (const std::string& m : strings("ggml.merges")) merges.push_back(split_merge(m, file));
  fill(*bpe, tokens, merges, file);
  const auto valid = [&](std::optional<int> id) { return id && *id >= 0 && *id < bpe->vocabulary() ? id : std::nullopt; };
  bpe->bos_id = valid(number("ggml.bos_token_id"));
  bpe->eos_id = valid(number("ggml.eos_token_id"));
  if (const GgufValue* v = find("ggml.add_bos_token"))
    if (const bool* b = std::get_if<bool>(v)) bpe->add_bos = *b;
  bpe->template_text = text("chat_template");
  if (!is_utf8(bpe->template_text)) throw InputError(file, 0, "tokenizer.chat_template is not valid UTF-8");

  bpe->config = {{"tokenizer_class", "PreTrainedTokenizerFast"}, {"clean_up_tokenization_spaces", false}, {"add_bos_token", bpe->add_bos}};
  const auto name = [&](const char* key, std::optional<int> id) {
    if (id) bpe->config[key] = tokens[static_cast<std::size_t>(*id)];
  };
  name("bos_token", bpe->bos_id), name("eos_token", bpe->eos_id), name("pad_token", valid(number("ggml.padding_token_id"))), name("unk_token", valid(number("ggml.unknown_token_id")));
  bpe->json = [tokens = std::move(tokens), merges = std::move(merges), steps, added = bpe->added, ignore_merges = bpe->ignore_merges] {
    SortedJson vocab = SortedJson::object(), added_list = SortedJson::array(), merge_list = SortedJson::array();
    for (std::size_t i = 0; i < tokens.size(); ++i) vocab[tokens[i]] = i;
    for (const AddedToken& t : added)
      added_list.push_back({{"id", t.id}, {"content", t.content}, {"single_word", false}, {"lstrip", false}, {"rstrip", false}, {"normalized", false}, {"special", t.special}});
    for (const auto& [a, b] : merges) merge_list.push_back({a, b});
    return SortedJson{{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}, {"added_tokens", added_list}, {"normalizer", nullptr},
                      {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", steps}}}, {"post_processor", nullptr},
                      {"decoder", {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}}},
                      {"model", {{"type", "BPE"}, {"dropout", nullptr}, {"unk_token", nullptr}, {"continuing_subword_prefix", nullptr},
                                 {"end_of_word_suffix", nullptr}, {"fuse_unk", false}, {"byte_fallback", false}, {"ignore_merges", ignore_merges},
                                 {"vocab", vocab}, {"merges", merge_list}}}};
  };
  bpe->finish();
  return bpe;
}

}  // namespace cai
