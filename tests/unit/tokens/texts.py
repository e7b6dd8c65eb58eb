# ruff: noqa: E501 - paragraphs of many languages, one a line
"""The texts whose tokens were counted: written for this purpose, or generated here. Must stay the same text for ever.

`pieces()` gives (kind, text) in a fixed order; `counts.json` holds the counts in that order with a digest of the text.
"""

from __future__ import annotations

import base64
import json
import random

JAPANESE = [
    "先週の打ち合わせでご相談した見積もりの件ですが、社内で検討した結果、保守費用を年額ではなく月額でお支払いする形に変更したいと考えております。契約書の第七条を修正した案を添付しますので、今週の金曜日までにご確認いただけますでしょうか。",
    "本システムは、利用者から受け付けた問い合わせを自動で分類し、担当部署へ振り分けるものです。分類の精度は毎月検証し、正解率が九割を下回った場合は学習データを見直します。個人情報を含む文章は、保存する前に必ず伏せ字に置き換えてください。",
    "昨日の夕方から在庫管理の画面が開かなくなりました。ブラウザを再起動しても直りません。エラーメッセージには「接続がタイムアウトしました」と表示されます。出荷の締め切りが今日の十五時なので、至急対応をお願いします。",
    "春の新商品として、柚子と生姜を使った焼き菓子を企画しています。ターゲットは三十代から四十代の女性で、手土産としての需要を見込んでいます。包装は和紙風の箱にして、六個入りと十二個入りの二種類を用意する予定です。",
    "次の議事録を三百字以内で要約し、決定事項と宿題を箇条書きにしてください。\n\n田中：予算の残りが少ないので、広告は来月に回しましょう。\n佐藤：賛成です。代わりに既存のお客様へのメールを増やします。\n鈴木：では原稿を水曜までに作ります。",
    "彼女は駅前の古い喫茶店で、窓の外を流れる人の波をぼんやりと眺めていた。約束の時間はとうに過ぎている。冷めたコーヒーの表面に、天井の灯りがゆらゆらと揺れていた。やがて扉の鈴が鳴り、見覚えのある声がした。",
    "サーバーのメモリ使用量が徐々に増え、三日ほどで上限に達して再起動してしまう問題を調査しています。プロファイラで確認したところ、キャッシュの有効期限が設定されておらず、古いエントリーが削除されていないことが分かりました。",
    "健康診断の結果、血圧がやや高めでした。塩分を控えた食事と、一日三十分程度のウォーキングを勧められています。外食が多いので、コンビニで買えるもので続けられる献立を一週間分考えてください。",
    "ログインに失敗した回数が五回を超えるとアカウントがロックされます。解除するには、登録済みのメールアドレス宛てに届くリンクを二十四時間以内に開いてください。リンクの有効期限が切れた場合は、もう一度パスワードの再設定をお申し込みください。",
    "統計の授業で、標準偏差と標準誤差の違いがよく分かりませんでした。標準偏差はデータのばらつきを表し、標準誤差は平均値の推定の確からしさを表すと習いましたが、サンプルサイズを増やすとなぜ標準誤差だけが小さくなるのでしょうか。",
    "旅行の計画を立てています。金曜の夜に東京を出発し、日曜の昼過ぎには戻りたいです。温泉に入れて、子ども（五歳と八歳）が楽しめる場所を二つ提案してください。移動はレンタカーで、片道二時間半以内が希望です。",
    "APIキーの発行手順：①管理画面にログインする　②「設定」→「キー管理」を開く　③「新規作成」ボタンを押す　④名前と有効期限（最長90日）を入力する　⑤表示されたキーを安全な場所に保存する。キーは一度しか表示されません。",
]
ENGLISH = [
    "Thank you for getting back to me so quickly. I looked at the numbers again over the weekend and I think we underestimated the effort for the migration: the old reports depend on a view that nobody documented, and rebuilding it will take at least four days.",
    "Please summarise the following complaint in two sentences, name the product, and suggest a polite reply. The customer bought a kettle in March, it stopped heating after six weeks, and the shop has not answered three emails.",
    "The quarterly review showed that response times improved by a third while costs stayed flat. Most of the gain came from caching repeated questions; the rest is due to shorter prompts. We still see timeouts on Monday mornings, when the nightly jobs overlap with the first users.",
    "A binary search halves the remaining range with every comparison, so it needs about log2(n) steps. It only works on sorted data, and the most common mistake is an off-by-one error in the upper bound that makes the loop run for ever when the value is missing.",
    "She had packed the lanterns before dawn, wrapping each in a torn piece of sailcloth, and when the fog lifted over the estuary the whole deck glowed faintly, as though the boat were remembering the lights of the harbour it had left behind.",
    "Employees may carry over up to five days of unused leave into the next calendar year. Requests must be approved by the line manager before 15 December. Leave that is not taken by 31 March expires without compensation, except where illness prevented it.",
    "Can you explain, to someone who has never studied physics, why the sky is blue but sunsets are red? Use an everyday comparison, avoid formulas, and keep it under 150 words. Then give me one question that would check whether they understood.",
    "Incident report: at 02:14 UTC the primary database stopped accepting connections. The standby took over within 40 seconds, but two workers kept their old sockets open and wrote to a read-only node. No data was lost; 312 requests failed and were retried by their clients.",
    "To make the dough, dissolve the yeast in lukewarm milk, add the flour, sugar and a pinch of salt, and knead until it no longer sticks to the bowl. Cover it with a damp cloth and let it rise for an hour. Roll it out thinly, spread the filling, and bake at 180 degrees.",
    "Our accessibility guidelines require a contrast ratio of at least 4.5:1 for normal text. Interactive elements need a visible focus outline, every image needs an alternative text, and no information may be conveyed by colour alone.",
    "I'd like to cancel my subscription, please. I've tried the link in the newsletter twice, but it only leads to the log-in page, and the password reset doesn't send anything. If there's a fee, let me know before you charge my card.",
    "The committee considered three options: renovating the existing hall, renting space in the new library, or building a smaller pavilion by the park. Renovation is cheapest in the first year but dearest over ten; the pavilion is the reverse.",
]
KOREAN = [
    "지난주 회의에서 말씀드린 일정에 대해 다시 확인 부탁드립니다. 서버 이전 작업은 금요일 밤에 시작해서 토요일 오전까지 끝낼 예정이며, 그동안 고객 포털은 읽기 전용으로 운영됩니다.",
    "다음 글을 세 문장으로 요약하고 핵심 단어 다섯 개를 뽑아 주세요. 새 제품의 반응은 전반적으로 좋았지만 배송이 늦다는 의견이 많았습니다. 특히 제주 지역에서는 평균 나흘이 걸렸습니다.",
    "그는 오래된 서점 구석에 앉아 비가 그치기를 기다렸다. 책장 사이로 스며드는 불빛은 따뜻했고, 종이 냄새는 어린 시절을 떠올리게 했다.",
    "비밀번호를 다섯 번 잘못 입력하면 계정이 잠깁니다. 등록된 이메일로 전송된 링크를 24시간 안에 열어 잠금을 해제하세요. 문제가 계속되면 고객 센터로 연락해 주시기 바랍니다.",
    "이번 분기의 매출은 전년 동기 대비 12퍼센트 증가했습니다. 온라인 판매가 성장을 이끌었으며, 매장 방문객 수는 비슷한 수준을 유지했습니다.",
]
CHINESE = [
    "上周会议上讨论的报价单我们已经重新核对过了。考虑到今年原材料价格上涨，建议把维护费用从按年支付改为按月支付，具体条款请参阅附件第七条的修改稿。",
    "请把下面的内容翻译成英文，并保持正式的语气：本公司将于下月一日起调整营业时间，周末不再提供电话咨询服务，客户可以通过网站留言，工作人员会在两个工作日内回复。",
    "傍晚的风从江面上吹来，带着一点潮湿的味道。老人坐在石阶上，慢慢地卷着手里的渔网，远处的货船拉响了汽笛。",
    "数据库连接数达到上限时，新的请求会被放进等待队列。如果三十秒内仍然没有可用的连接，系统就会返回错误代码，同时在日志里记录当时的活动会话。",
    "統計資料顯示，今年第三季的線上訂單較去年同期成長百分之十五，其中以家用電器與書籍的表現最為突出，但退貨率也略有上升。",
]
RUSSIAN = [
    "Спасибо за быстрый ответ. Мы ещё раз проверили смету и пришли к выводу, что перенос отчётов займёт не меньше четырёх рабочих дней, потому что старая система нигде не описана.",
    "Кратко перескажите следующий текст и выделите главную мысль. Новая версия приложения работает быстрее, но пользователи жалуются на неудобное меню и слишком мелкий шрифт на телефонах.",
    "К вечеру метель утихла, и над деревней показались звёзды. Старый фонарь у ворот скрипел на ветру, а из трубы соседнего дома медленно поднимался дым.",
    "Если пароль введён неверно пять раз подряд, учётная запись блокируется. Чтобы снять блокировку, откройте ссылку из письма в течение двадцати четырёх часов.",
    "По итогам квартала выручка выросла на двенадцать процентов, а расходы остались на прежнем уровне. Основной рост обеспечили продажи через интернет.",
]
OTHER_SCRIPTS = {
    "arabic": "شكرا على ردكم السريع. راجعنا الأرقام مرة أخرى ونعتقد أن نقل التقارير سيستغرق أربعة أيام على الأقل، لأن النظام القديم غير موثق. نرجو تأكيد الموعد قبل نهاية الأسبوع.",
    "hebrew": "תודה על התשובה המהירה. בדקנו שוב את המספרים ואנחנו חושבים שהעברת הדוחות תימשך לפחות ארבעה ימים, כי המערכת הישנה אינה מתועדת.",
    "hindi": "पिछले सप्ताह की बैठक के बाद हमने आँकड़ों को फिर से देखा। पुरानी प्रणाली का कोई दस्तावेज़ नहीं है, इसलिए रिपोर्टों को बदलने में कम से कम चार दिन लगेंगे। कृपया शुक्रवार तक उत्तर दें।",
    "thai": "ขอบคุณสำหรับการตอบกลับที่รวดเร็ว เราได้ตรวจสอบตัวเลขอีกครั้งแล้ว และคิดว่าการย้ายรายงานจะใช้เวลาอย่างน้อยสี่วัน เพราะระบบเดิมไม่มีเอกสารอธิบาย",
    "greek": "Ευχαριστούμε για την άμεση απάντηση. Ελέγξαμε ξανά τα στοιχεία και πιστεύουμε ότι η μεταφορά των αναφορών θα διαρκέσει τουλάχιστον τέσσερις ημέρες.",
    "bengali": "দ্রুত উত্তরের জন্য ধন্যবাদ। আমরা সংখ্যাগুলি আবার দেখেছি এবং মনে করি প্রতিবেদনগুলি সরাতে অন্তত চার দিন লাগবে, কারণ পুরানো ব্যবস্থার কোনো নথি নেই।",
    "tamil": "விரைவான பதிலுக்கு நன்றி. எண்களை மீண்டும் சரிபார்த்தோம்; பழைய அமைப்பிற்கு ஆவணங்கள் இல்லாததால் அறிக்கைகளை மாற்ற குறைந்தது நான்கு நாட்கள் ஆகும்.",
    "georgian": "გმადლობთ სწრაფი პასუხისთვის. რიცხვები ხელახლა შევამოწმეთ და ვფიქრობთ, რომ ანგარიშების გადატანას სულ მცირე ოთხი დღე დასჭირდება.",
    "vietnamese": "Cảm ơn bạn đã trả lời nhanh chóng. Chúng tôi đã kiểm tra lại các con số và cho rằng việc chuyển báo cáo sẽ mất ít nhất bốn ngày, vì hệ thống cũ không có tài liệu.",
    "german": "Vielen Dank für die schnelle Antwort. Wir haben die Zahlen noch einmal geprüft und gehen davon aus, dass die Umstellung der Berichte mindestens vier Arbeitstage dauert, weil das alte System nirgends beschrieben ist.",
    "french": "Merci pour votre réponse rapide. Nous avons vérifié les chiffres et nous pensons que la migration des rapports prendra au moins quatre jours, car l'ancien système n'est documenté nulle part.",
}
CODE = [
    '''def merge_intervals(intervals: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join intervals that overlap or touch."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged
''',
    """export async function fetchWithRetry(url, options = {}, attempts = 3) {
  let lastError;
  for (let attempt = 0; attempt < attempts; attempt += 1) {
    try {
      const response = await fetch(url, options);
      if (response.ok) return await response.json();
      if (response.status < 500) throw new Error(`HTTP ${response.status}`);
    } catch (error) {
      lastError = error;
    }
    await new Promise((resolve) => setTimeout(resolve, 250 * 2 ** attempt));
  }
  throw lastError ?? new Error("no answer");
}
""",
    """SELECT d.name AS department, date_trunc('month', o.ordered_at) AS month,
       count(*) AS orders, sum(o.amount) AS revenue
FROM orders AS o
JOIN customers AS c ON c.id = o.customer_id
JOIN departments AS d ON d.id = c.department_id
WHERE o.status <> 'cancelled' AND o.ordered_at >= now() - interval '1 year'
GROUP BY d.name, month
HAVING sum(o.amount) > 10000
ORDER BY month DESC, revenue DESC;
""",
    """#include <stdint.h>
#include <stddef.h>

/* Counts the bits that differ between two buffers of equal length. */
size_t hamming_distance(const uint8_t *left, const uint8_t *right, size_t length)
{
    size_t distance = 0;
    for (size_t i = 0; i < length; i++) {
        uint8_t difference = left[i] ^ right[i];
        while (difference) {
            difference &= (uint8_t)(difference - 1);
            distance++;
        }
    }
    return distance;
}
""",
    """package queue

import "sync"

// Ring is a fixed-size queue that overwrites its oldest element.
type Ring[T any] struct {
	mu    sync.Mutex
	items []T
	head  int
	count int
}

func (r *Ring[T]) Push(item T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.items[(r.head+r.count)%len(r.items)] = item
	if r.count < len(r.items) {
		r.count++
	} else {
		r.head = (r.head + 1) % len(r.items)
	}
}
""",
    """name: nightly
on:
  schedule:
    - cron: "30 2 * * *"
jobs:
  report:
    runs-on: ubuntu-latest
    timeout-minutes: 20
    steps:
      - uses: actions/checkout@v4
      - name: Build the report
        run: make report MONTH=$(date +%Y-%m)
        env:
          REPORT_TOKEN: ${{ secrets.REPORT_TOKEN }}
""",
    '''class 在庫(object):
    """商品の在庫を管理する。"""

    def __init__(self, 品名, 数量=0):
        self.品名 = 品名
        self.数量 = 数量

    def 出庫(self, 個数):
        if 個数 > self.数量:
            raise ValueError(f"在庫が足りません: {self.品名} 残り{self.数量}個")
        self.数量 -= 個数
        return self.数量
''',
    """<form action="/orders" method="post" class="order-form">
  <label for="quantity">Quantity</label>
  <input id="quantity" name="quantity" type="number" min="1" max="99" required>
  <select name="shipping">
    <option value="standard" selected>Standard (3-5 days)</option>
    <option value="express">Express (next day)</option>
  </select>
  <button type="submit" disabled>Place order</button>
</form>
""",
]
_KANA = "ｱｲｳｴｵｶｷｸｹｺｻｼｽｾｿﾀﾁﾂﾃﾄﾅﾆﾇﾈﾉﾊﾋﾌﾍﾎﾏﾐﾑﾒﾓﾔﾕﾖﾗﾘﾙﾚﾛﾜﾝﾞﾟｰ"
_KANA_WORDS = ["ｶﾌﾞｼｷｶﾞｲｼｬ", "ﾐｽﾞﾎｷﾞﾝｺｳ", "ﾌﾘｺﾐ", "ﾃｽｳﾘｮｳ", "ﾀﾅｶ ﾀﾛｳ", "ｻﾄｳ ﾊﾅｺ", "ｾﾝﾀﾞｲｼ", "ﾖｺﾊﾏｼ ﾅｶｸ", "ﾃﾞﾝｷﾀﾞｲ", "ｷｭｳﾖ"]
_WORDS = (  # noqa: SIM905 - shorter so
    "order customer amount status shipped pending created updated address street city postal code price quantity "
    "discount total currency email phone note reason category region manager department invoice tax"
).split()


def pieces() -> list[tuple[str, str]]:
    chance = random.Random(20_261_126)
    found: list[tuple[str, str]] = []
    for kind, texts, size in (
        ("japanese", JAPANESE, 44),
        ("english", ENGLISH, 44),
        ("code", CODE, 44),
        ("korean", KOREAN, 12),
        ("chinese", CHINESE, 12),
        ("russian", RUSSIAN, 12),
    ):
        found += [(kind, text) for text in texts]
        for _ in range(size - len(texts)):
            found.append((kind, "\n\n".join(chance.sample(texts, chance.randint(2, min(5, len(texts)))))))
    found += [("json", _json(chance)) for _ in range(44)]
    found += list(OTHER_SCRIPTS.items())
    for _ in range(12):
        found.append(("base64", base64.b64encode(chance.randbytes(chance.randint(60, 1500))).decode()))
        found.append(("digits", _numbers(chance)))
        found.append(("half-width kana", " ".join(chance.choice(_KANA_WORDS) for _ in range(chance.randint(8, 60)))))
        found.append(("mixed", "\n".join(chance.choice(x) for x in (JAPANESE, CODE, ENGLISH))))
    found.append(("half-width kana", _KANA * 3))
    found.append(("emoji", "🎉 今日はありがとうございました！😊👍 次回は 7/15 (水) です 📅✨ See you soon 🚀🔥 ❤️"))
    found.append(
        (
            "full-width",
            "ＡＰＩキー：ＸＹＺ－１２３４５　（有効期限：２０２６年１２月３１日）　ＴＥＬ：０３－１２３４－５６７８",
        )
    )
    return found


def _numbers(chance: random.Random) -> str:
    glue = chance.choice([" ", ",", "\n", ""])
    return glue.join(str(chance.randint(0, 10 ** chance.randint(1, 12))) for _ in range(chance.randint(20, 200)))


def _json(chance: random.Random) -> str:
    value = {chance.choice(_WORDS): _value(chance, 0) for _ in range(chance.randint(4, 14))}
    style = chance.choice([{"separators": (",", ":")}, {}, {"indent": 2}, {"indent": 4}])
    return json.dumps(value, ensure_ascii=False, **style)


def _value(chance: random.Random, depth: int) -> object:
    match chance.randrange(10 if depth < 3 else 7):
        case 0:
            return chance.randint(0, 10 ** chance.randint(1, 7))
        case 1:
            return round(chance.random() * 1000, 2)
        case 2:
            return chance.choice([True, False, None])
        case 3:
            return f"2026-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}T{chance.randint(0, 23):02}:15:00Z"
        case 4:
            return chance.choice(JAPANESE)[: chance.randint(4, 60)]
        case 5:
            return f"{chance.getrandbits(64):016x}"
        case 6:
            return " ".join(chance.sample(_WORDS, chance.randint(1, 6)))
        case 7:
            return [_value(chance, depth + 1) for _ in range(chance.randint(1, 4))]
        case _:
            keys = chance.sample(_WORDS, chance.randint(2, 6))
            return {key: _value(chance, depth + 1) for key in keys}
