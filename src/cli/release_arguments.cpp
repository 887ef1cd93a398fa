#include "cai/cli/release_arguments.hpp"

#include <CLI/CLI.hpp>

namespace cai {
namespace {

void add_who(CLI::App& sub, ReleaseArguments& a) {
  sub.add_option("--by", a.by, "Name of the person who decides")->type_name("NAME");
  sub.add_option("--reason", a.reason, "Why, for the log; needed to propose and to revoke")
      ->type_name("TEXT");
  sub.add_option("--key", a.key, "Sign with this private key (cai key new)")->type_name("FILE");
}

void add_gate(CLI::App& app, ReleaseArguments& a, const AddCommand& add) {
  CLI::App* sub =
      add(app, "gate", "Compare a finished run with a release policy; exit code 100 where it fails",
          "  cai gate runs/first --policy release.yaml\n  cai gate runs/first --to registry/support");
  sub->add_option("run", a.place, "Run folder")->type_name("RUN")->required();
  sub->add_option("--policy", a.policy, "Release policy (YAML)")->type_name("FILE");
  sub->add_option("--to", a.to, "Registry: its policy, and its version in production for the diff")
      ->type_name("REGISTRY");
}

void add_promote(CLI::App& app, ReleaseArguments& a, const AddCommand& add) {
  CLI::App* sub =
      add(app, "promote", "Propose a run for release, approve a version, move an alias, or revoke",
          "  cai promote runs/first --to registry/support --version 1.3.0 --by 'N. N.' --reason "
          "'fewer refusals'\n  cai promote registry/support --approve 1.3.0 --by 'M. M.'\n  cai "
          "promote registry/support --alias production=1.3.0 --by 'M. M.'\n  cai promote "
          "registry/support --revoke 1.2.0 --by 'M. M.' --reason 'leaks names'");
  sub->add_option("place", a.place, "Run folder with --to, else registry")
      ->type_name("RUN|REGISTRY")
      ->required();
  sub->add_option("--to", a.to, "Propose the run for release in this registry")->type_name("REGISTRY");
  sub->add_option("--version", a.version, "Version of the proposal: MAJOR.MINOR.PATCH")->type_name("VERSION");
  sub->add_option("--approve", a.approve, "Approve this version")->type_name("VERSION");
  sub->add_option("--alias", a.alias, "Let an alias name a version: this releases it, or rolls back")
      ->type_name("ALIAS=VERSION");
  sub->add_option("--revoke", a.revoke, "Revoke this version: it can no longer be released")
      ->type_name("VERSION");
  add_who(*sub, a);
}

void add_registry(CLI::App& app, ReleaseArguments& a, const AddCommand& add) {
  CLI::App* registry = add(app, "registry", "Show and verify the releases of a registry",
                           "  cai registry list registry/support\n  cai registry show registry/support "
                           "production\n  cai registry log registry/support --at 2026-05-03");
  registry->require_subcommand(1);
  const auto place = [&](CLI::App* sub) {
    sub->add_option("registry", a.place, "Registry folder")->type_name("REGISTRY")->required();
  };
  place(add(*registry, "list", "List the versions and what became of them",
            "  cai registry list registry/support"));
  CLI::App* sub = add(*registry, "show", "Show one version: its gates, approvals and figures",
                      "  cai registry show registry/support\n  cai registry show registry/support 1.3.0");
  place(sub);
  sub->add_option("version", a.name, "Version or alias (default: production, else the newest)")
      ->type_name("VERSION");
  sub = add(*registry, "log", "Show who did what, when and why, and what the aliases named",
            "  cai registry log registry/support\n  cai registry log registry/support --at 2026-05-03");
  place(sub);
  sub->add_option("--at", a.at, "Only up to this time, in UTC: 2026-05-03 (its end) or 2026-05-03T10:00:00Z")
      ->type_name("DATE");
  sub =
      add(*registry, "verify", "Check the log, all signatures and every file of every version",
          "  cai registry verify registry/support\n  cai registry verify registry/support --key n.pub --key "
          "m.pub");
  place(sub);
  sub->add_option("--key", a.keys, "Accept only signatures with these public keys (repeatable)")
      ->type_name("FILE")
      ->take_all()
      ->allow_extra_args(false);
}

void add_key(CLI::App& app, ReleaseArguments& a, const AddCommand& add) {
  CLI::App* key = add(app, "key", "Make keys, sign model folders and verify their signatures",
                      "  cai key new keys/nn\n  cai key verify exported --key keys/nn.pub");
  key->require_subcommand(1);
  CLI::App* sub = add(*key, "new", "Make a key pair (ECDSA P-256): NAME.key signs, NAME.pub verifies",
                      "  cai key new keys/nn");
  sub->add_option("name", a.name, "Path of the two files, without ending")->type_name("NAME")->required();
  sub->add_flag("--no-passphrase", a.without_passphrase,
                "Do not encrypt the private key (default: ask for a passphrase, or take CAI_KEY_PASSPHRASE)");
  for (const bool signs : {true, false}) {
    sub = add(
        *key, signs ? "sign" : "verify",
        signs ? "Sign a model folder (OpenSSF Model Signing 1.0)"
              : "Compare a model folder with its signature (OpenSSF Model Signing 1.0)",
        signs ? "  cai key sign exported --key keys/nn.key" : "  cai key verify exported --key keys/nn.pub");
    sub->add_option("folder", a.place, "Model folder")->type_name("DIR")->required();
    sub->add_option("--key", a.key, signs ? "Private key" : "Public key")->type_name("FILE")->required();
    sub->add_option("--signature", a.signature, "Signature file (default: model.sig in the folder)")
        ->type_name("FILE");
  }
}

}  // namespace

void add_release_commands(CLI::App& app, ReleaseArguments& a, const AddCommand& add) {
  add_gate(app, a, add);
  add_promote(app, a, add);
  add_registry(app, a, add);
  add_key(app, a, add);
}

bool is_release_command(const std::string& command) {
  return command == "gate" || command == "promote" || command.starts_with("registry ") ||
         command.starts_with("key ");
}

}  // namespace cai
