//! What to do with the exported files, as commands that can be typed as they stand. In both languages: whoever exports is
//! not always who carries it out.

use std::fmt::Write;

use hikeshi_scenario::Text;

use super::{GROUP, Target, role_arn};
use crate::manifest::Manifest;

pub(super) struct Guide<'a> {
    pub manifest: &'a Manifest,
    pub target: &'a Target,
    pub role: &'a str,
    pub namespaces: &'a [String],
    pub notes: &'a [Text],
}

impl Guide<'_> {
    /// `README.md`
    pub fn en(&self) -> String {
        let mut text = format!(
            "# {} {} as an AWS FIS experiment\n\n[日本語](README.ja.md)\n\n",
            self.manifest.kind, self.manifest.name
        );
        if !self.target.examples.is_empty() {
            let _ = writeln!(
                text,
                "**Example values:** {} were not given, so these files name examples. Export again with your own.\n",
                self.target.examples.join(", ")
            );
        }
        let _ = writeln!(
            text,
            "| file | what it is |\n|---|---|\n\
             | `experiment-template.json` | the template: target, action, stop conditions, role |\n\
             | `iam-trust-policy.json` | lets FIS, in this account and region only, take the role |\n\
             | `iam-permissions-policy.json` | what the role may do in AWS: find this cluster |\n\
             | `kubernetes-rbac.yaml` | what the group `{GROUP}` may do in the cluster: this kind, in {} |\n\
             | `aws-auth-map-roles.yaml` | for clusters that map roles by the `aws-auth` ConfigMap |\n",
            self.namespaces.join(", ")
        );
        text.push_str("Chaos Mesh must be installed in the cluster. Then, in this folder:\n\n");
        text.push_str(&self.commands([
            "The role that the experiment runs as",
            "Its rights in the cluster",
            "The template",
            "Run it, with the id that step 3 has printed",
        ]));
        let _ = writeln!(
            text,
            "A cluster whose authentication mode is `CONFIG_MAP` has no access entries: instead of `create-access-entry`, add the\n\
             entry of `aws-auth-map-roles.yaml` to `mapRoles` in the ConfigMap `aws-auth` of namespace `kube-system`\n\
             (`kubectl edit configmap aws-auth -n kube-system`).\n\n\
             The group is `{GROUP}`, not `system:masters`: who can start this template can put in this kind of fault in these\n\
             namespaces, and do nothing else in the cluster.\n"
        );
        text.push_str("## Stop conditions\n\n");
        text.push_str(if self.target.alarms.is_empty() {
            "`stopConditions` is `none`: nothing but its end or a person stops this experiment. Export again with\n\
             `--alarm ARN` (several times if need be) to name CloudWatch alarms; FIS stops the experiment, and deletes the chaos\n\
             object, as soon as one of them is in ALARM. An alarm on the burn rate of an SLO stops what spends the budget too fast.\n\n"
        } else {
            "FIS stops the experiment, and deletes the chaos object, as soon as one of these alarms is in ALARM. It does not\n\
             start while one of them is.\n\n"
        });
        self.alarms(&mut text);
        text.push_str("## What FIS does not carry\n\n");
        for note in self.notes {
            let _ = writeln!(text, "- {}", note.en);
        }
        self.checks(
            &mut text,
            "The checks of the manifest, to be made into alarms or looked at:",
        );
        text
    }

    /// `README.ja.md`
    pub fn ja(&self) -> String {
        let mut text = format!(
            "# {} {} を AWS FIS の実験として動かす\n\n[English](README.md)\n\n",
            self.manifest.kind, self.manifest.name
        );
        if !self.target.examples.is_empty() {
            let _ = writeln!(
                text,
                "**例の値が入っています:** {} が指定されていません。指定して書き出し直してください。\n",
                self.target.examples.join("、")
            );
        }
        let _ = writeln!(
            text,
            "| ファイル | 内容 |\n|---|---|\n\
             | `experiment-template.json` | テンプレート本体 (対象、アクション、停止条件、ロール) |\n\
             | `iam-trust-policy.json` | このアカウントとリージョンの FIS だけに、ロールの引き受けを許す |\n\
             | `iam-permissions-policy.json` | ロールが AWS でできること (このクラスターを見つけるだけ) |\n\
             | `kubernetes-rbac.yaml` | グループ `{GROUP}` がクラスターでできること (この種類だけ、{} だけ) |\n\
             | `aws-auth-map-roles.yaml` | ロールを ConfigMap `aws-auth` で対応づけているクラスター用 |\n",
            self.namespaces.join("、")
        );
        text.push_str("クラスターには Chaos Mesh が入っている必要があります。このフォルダーで、順に実行してください。\n\n");
        text.push_str(&self.commands([
            "実験を動かすロール",
            "クラスターの中での権限",
            "テンプレート",
            "実行 (手順 3 が表示した ID を使う)",
        ]));
        let _ = writeln!(
            text,
            "認証モードが `CONFIG_MAP` のクラスターには、アクセスエントリがありません。`create-access-entry` の代わりに、\n\
             `aws-auth-map-roles.yaml` の項目を、Namespace `kube-system` の ConfigMap `aws-auth` の `mapRoles` に足してください\n\
             (`kubectl edit configmap aws-auth -n kube-system`)。\n\n\
             グループは `system:masters` ではなく `{GROUP}` です。このテンプレートを開始できる人は、この Namespace にこの種類の\n\
             障害を入れられるだけで、クラスターのほかのものには触れられません。\n"
        );
        text.push_str("## 停止条件\n\n");
        text.push_str(if self.target.alarms.is_empty() {
            "`stopConditions` は `none` です。実験は、時間が来るか、人が止めるまで続きます。`--alarm ARN` で CloudWatch アラームを\n\
             指定して書き出し直せば (何個でも指定できます)、どれか 1 つが ALARM になりしだい、FIS が実験を止め、Chaos Mesh の\n\
             オブジェクトを削除します。SLO のバーンレートのアラームを使えば、エラーバジェットの減りが速すぎるときに止められます。\n\n"
        } else {
            "次のアラームのどれか 1 つが ALARM になりしだい、FIS は実験を止め、Chaos Mesh のオブジェクトを削除します。\n\
             すでに ALARM のものがあれば、実験は始まりません。\n\n"
        });
        self.alarms(&mut text);
        text.push_str("## FIS では運べないもの\n\n");
        for note in self.notes {
            let _ = writeln!(text, "- {}", note.ja);
        }
        self.checks(
            &mut text,
            "マニフェストの仮説とガードは次のとおりです。アラームにするか、自分の目で確かめてください。",
        );
        text
    }

    fn commands(&self, [role_is, rights, template, run]: [&str; 4]) -> String {
        let Target { cluster, region, .. } = self.target;
        let (role, arn) = (self.role, role_arn(self.target, self.role));
        format!(
            "```sh\n\
             # 1. {role_is}\n\
             aws iam create-role --role-name {role} --assume-role-policy-document file://iam-trust-policy.json\n\
             aws iam put-role-policy --role-name {role} --policy-name hikeshi-fis --policy-document file://iam-permissions-policy.json\n\
             # 2. {rights}\n\
             kubectl apply -f kubernetes-rbac.yaml\n\
             aws eks create-access-entry --region {region} --cluster-name {cluster} --principal-arn {arn} --username hikeshi-fis --kubernetes-groups {GROUP}\n\
             # 3. {template}\n\
             aws fis create-experiment-template --region {region} --cli-input-json file://experiment-template.json\n\
             # 4. {run}\n\
             aws fis start-experiment --region {region} --experiment-template-id \"$TEMPLATE_ID\"\n\
             ```\n\n"
        )
    }

    fn alarms(&self, text: &mut String) {
        for alarm in &self.target.alarms {
            let _ = writeln!(text, "- `{alarm}`");
        }
        if !self.target.alarms.is_empty() {
            text.push('\n');
        }
    }

    fn checks(&self, text: &mut String, head: &str) {
        if self.manifest.checks.is_empty() {
            return;
        }
        let _ = writeln!(text, "\n{head}\n");
        for check in &self.manifest.checks {
            let _ = writeln!(
                text,
                "- `{}`: `{} {} {}`",
                check.annotation(),
                check.query,
                check.op.sign(),
                check.threshold
            );
        }
    }
}
