#include "cai/text/bpe.hpp"

#include <algorithm>
#include <set>

#include "cai/base/error.hpp"
#include "cai/base/log.hpp"
#include "cai/base/text.hpp"
#include "cai/text/bpe_tables.hpp"

namespace cai {
namespace {

std::string token_text(const Json& j) {
  if (j.is_string()) return j.get<std::string>();
  return j.is_object() && j.contains("content") && j["content"].is_string() ? j["content"].get<std::string>()
                                                                            : "";
}

// One tokenizer.json. Fields that are missing or of another type are reported by the JSON library and told by
// bpe_from_json.
class Reader {
 public:
  Reader(const SortedJson& json, const Json& config, const std::string& file, std::int64_t vocabulary)
      : json_(json),
        model_(json.at("model")),
        config_(config),
        file_(file),
        limit_(vocabulary),
        bpe_(std::make_shared<Bpe>()) {}

  std::shared_ptr<Bpe> read() {
    read_model();
    bpe_->normalizer = Normalizer::from_json(json_.value("normalizer", SortedJson()), file_);
    bpe_->pre_tokenizer = PreTokenizer::from_json(json_.value("pre_tokenizer", SortedJson()), file_);
    if (!bpe_->pre_tokenizer.byte_level() && !bpe_->byte_fallback &&
        !model_.value("unk_token", SortedJson()).is_string())
      throw InputError(file_, 0,
                       "neither a byte-level pre_tokenizer nor byte_fallback; one of them is needed");
    read_decoder(json_.value("decoder", SortedJson()));
    const SortedJson& vocab = model_.at("vocab");
    const SortedJson added = json_.value("added_tokens", SortedJson::array());
    if (!vocab.is_object() || !added.is_array())
      throw InputError(file_, 0, "model.vocab must be an object and added_tokens a list");
    // Ids may have gaps, but not more gaps than tokens: a table of all ids is made.
    most_ = std::min<std::size_t>(10'000'000, 2 * (vocab.size() + added.size()) + 1000);
    for (const auto& [token, id] : vocab.items())
      id_of(id, token);
    read_added(added);
    fill(vocab);
    return bpe_;
  }

 private:
  const SortedJson& json_;
  const SortedJson& model_;
  const Json& config_;
  const std::string& file_;
  std::int64_t limit_;
  std::shared_ptr<Bpe> bpe_;
  std::size_t most_ = 0, size_ = 0;
  std::vector<std::string> surplus_;

  void read_model() {
    if (const std::string type = model_.value("type", "BPE"); type != "BPE")
      throw InputError(file_, 0, "tokenizer model " + in_quotes(type) + "; accepted: BPE");
    for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"})
      if (model_.contains(name) && model_[name].is_string() && model_[name] != "")
        throw InputError(file_, 0,
                         std::string("model.") + name + " " + in_quotes(model_[name].get<std::string>()) +
                             "; accepted: none");
    bpe_->ignore_merges = model_.value("ignore_merges", false);
    bpe_->byte_fallback = model_.value("byte_fallback", false);
    bpe_->fuse_unknown = model_.value("fuse_unk", false);
  }

  // Only whether the space that a text begins with goes again; all else follows from the tokens.
  void read_decoder(const SortedJson& decoder) {
    if (!decoder.is_object()) return;
    const std::string type = decoder.value("type", "");
    if (type == "Strip")
      bpe_->strips_space |= decoder.value("content", "") == " " && decoder.value("start", 0) > 0;
    if (type == "Metaspace") bpe_->strips_space |= decoder.value("prepend_scheme", "always") != "never";
    if (type == "Sequence")
      for (const SortedJson& part : decoder.at("decoders"))
        read_decoder(part);
  }

  int id_of(const SortedJson& id, const std::string& token) {
    if (!id.is_number_integer() || (!id.is_number_unsigned() && id.get<std::int64_t>() < 0) ||
        id.get<std::uint64_t>() >= most_)
      throw InputError(file_, 0,
                       "the id of the token " + in_quotes(token) + " is " +
                           one_line(id.dump().substr(0, 100)) + "; accepted: a whole number below " +
                           std::to_string(most_));
    size_ = std::max(size_, id.get<std::size_t>() + 1);
    return id.get<int>();
  }

  void read_added(const SortedJson& added) {
    std::set<std::string> named;
    for (const auto& [name, text] : named_tokens_of(config_))
      if (name == "bos_token" || name == "eos_token") named.insert(text);
    std::set<int> ids;
    for (const SortedJson& t : added) {
      AddedToken token{t.at("content").get<std::string>()};
      token.id = id_of(t.at("id"), token.content);
      if (!ids.insert(token.id).second)  // one of them may be a control token, the other a space
        throw InputError(
            file_, 0,
            "two added tokens have the id " + t["id"].dump() + ", the second is " + in_quotes(token.content));
      token.special =
          is_special_token(t.value("special", false) || named.count(token.content), token.content);
      token.lstrip = t.value("lstrip", false), token.rstrip = t.value("rstrip", false);
      token.single_word = t.value("single_word", false), token.normalized = t.value("normalized", false);
      bpe_->added.push_back(std::move(token));
    }
  }

  void fill(const SortedJson& vocab) {
    std::vector<std::string> tokens(size_);
    for (const auto& [token, id] : vocab.items())
      tokens[id.get<std::size_t>()] = token;
    for (const AddedToken& t : bpe_->added)
      tokens[static_cast<std::size_t>(t.id)] = t.content;
    leave_out_surplus(tokens, vocab);
    MergeList merges;
    for (const SortedJson& m : model_.at("merges")) {
      if (m.is_array())
        merges.emplace_back(m.at(0).get<std::string>(), m.at(1).get<std::string>());
      else
        merges.push_back(split_merge(m.get<std::string>(), file_));
    }
    fill_tables(*bpe_, tokens, merges, file_);
    if (model_.contains("unk_token") && model_["unk_token"].is_string())
      if (const auto it = std::find(tokens.begin(), tokens.end(), model_["unk_token"].get<std::string>());
          it != tokens.end())
        bpe_->unknown_id = static_cast<int>(it - tokens.begin());
  }

  // Tokens that were added to the tokenizer, but not to the model: a padding token, as a rule. Nothing
  // becomes one of them.
  void leave_out_surplus(std::vector<std::string>& tokens, const SortedJson& vocab) {
    if (limit_ < 0 || static_cast<std::int64_t>(size_) <= limit_) return;
    std::string names;
    std::set<int> added;
    for (const AddedToken& t : bpe_->added)
      if (t.id >= limit_) added.insert(t.id), names += (names.empty() ? "" : ", ") + in_quotes(t.content);
    for (const auto& [token, id] : vocab.items())
      if (id.get<std::int64_t>() >= limit_ && !added.count(id.get<int>()))
        throw InputError(file_, 0,
                         "the tokenizer has " + std::to_string(size_) + " tokens, the model knows " +
                             std::to_string(limit_) + "; " + in_quotes(token) + " is one too many");
    log_warning(file_ + ": the model has no weights for the added tokens " + names + "; they are not used");
    std::erase_if(bpe_->added, [&](const AddedToken& t) { return t.id >= limit_; });
    tokens.resize(static_cast<std::size_t>(limit_));
  }
};

}  // namespace

bool flag_of(const Json& config, const char* name, bool otherwise) {
  const auto value = config.find(name);
  return value != config.end() && value->is_boolean() ? value->get<bool>() : otherwise;
}

std::map<std::string, std::string> named_tokens_of(const Json& config) {
  std::map<std::string, std::string> named;
  for (const auto& [name, value] : config.items())
    if (name.ends_with("_token") && !token_text(value).empty()) named[name] = token_text(value);
  return named;
}

std::string template_of(const Json& config, const std::string& file) {
  const auto found = config.find("chat_template");
  if (found == config.end() || found->is_null()) return "";
  if (found->is_string()) return found->get<std::string>();
  std::string names;
  if (found->is_array()) {
    for (const Json& one : *found) {
      if (!one.is_object() || !one.contains("name") || !one.contains("template") ||
          !one["name"].is_string() || !one["template"].is_string())
        continue;
      if (one["name"] == "default" || found->size() == 1) return one["template"].get<std::string>();
      names += (names.empty() ? "" : ", ") + in_quotes(one["name"].get<std::string>());
    }
  }
  throw InputError(file, 0,
                   names.empty() ? "chat_template must be a text, or a list of {name, template}"
                                 : "chat_template has " + names + " and none with the name \"default\"");
}

std::shared_ptr<const Tokenizer> bpe_from_json(const SortedJson& j, const Json& config,
                                               const std::string& file, std::int64_t vocabulary) {
  std::shared_ptr<Bpe> bpe;
  try {
    bpe = Reader(j, config, file, vocabulary).read();
  } catch (const SortedJson::exception& e) {
    const std::string what = e.what();  // "[json.exception...] key 'model' not found"
    throw InputError(file, 0,
                     "not a tokenizer.json of the expected form: " +
                         one_line(what.substr(what.find("] ") == what.npos ? 0 : what.find("] ") + 2)));
  }
  bpe->json = [j] { return j; };
  bpe->config = config;
  const std::map<std::string, std::string> named = named_tokens_of(config);
  if (named.count("bos_token")) bpe->bos_id = bpe->control(named.at("bos_token"));
  if (named.count("eos_token")) bpe->eos_id = bpe->control(named.at("eos_token"));
  bpe->add_bos = flag_of(config, "add_bos_token", false);
  bpe->template_text = template_of(config, file);
  bpe->finish();
  return bpe;
}

}  // namespace cai
