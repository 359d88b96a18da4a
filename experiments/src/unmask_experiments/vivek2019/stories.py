"""The result of each table and figure of Vivek et al. 2019 in words; ``{key}`` stands for the quantity so called."""

TABLE3 = """\
Rows: `fgsm` and `rfgsm` train on half clean and half adversarial images, `_only` on adversarial images alone; R-FGSM's
alpha is half of epsilon there, and 0.01 in rows that end in `_near`. `eat_a` to `eat_d` train networks A to D,
`rfgsm_fgsm` trains on FGSM and R-FGSM images with cross entropy on both, `lambda0` on the proposed loss with weight 0,
and `proposed_selected` is `proposed` at the pass that did best under 3-step I-FGSM on validation images. `worst` is the
worst case over all attacks. `seconds` are those of training, readings included, on a machine with other work: table 7
compares. Under FGSM and under PGD-100, networks trained on FGSM images stand at {fgsm fgsm} and {fgsm pgd100} % (half
clean) and at {fgsm_only fgsm} and {fgsm_only pgd100} % (adversarial only), with the term at {proposed fgsm} and
{proposed pgd100} %, and trained with PGD at {pgd fgsm} and {pgd pgd100} %: {pgd pgd100, each} at the three seeds, each
above 90, though their interval meets it. Which reading of FGSM training the paper has stays open: accuracies speak for
half clean images (clean accuracy equal; 89.04 % under FGSM, which is below both readings and nearer to this one), the
time of 1.52 times normal training's for adversarial images alone (table 7). `fgsm_only` and `lambda0` are one run: what
two claims say of them is one result. `lambda0` masks as published, but on clean images it comes to {lambda0 clean} %
where the paper has 97.62: trained on FGSM images alone, the network learns what FGSM writes into them and unlearns the
digits. R-FGSM training withstands PGD-100 better than published ({rfgsm pgd100} and {rfgsm_only pgd100} % against
28.76) with the alpha it was published with, half of epsilon, and falls to it with 0.01 ({rfgsm_only_near pgd100} %):
the paper, which does not state its alpha, lies between. With FGSM images beside R-FGSM's it falls altogether, to
{rfgsm_fgsm pgd100} % under PGD-100, where the paper keeps 33.41, while under FGSM more images stand than clean ones
({rfgsm_fgsm fgsm} and {rfgsm_fgsm clean} %): labels leak. Of training images at most 6.5 % stand under PGD-7 after the
second pass, but for one look in 56. Ensembles do on clean images about as published and better under FGSM, and fall to
{eat_a pgd100}, {eat_b pgd100}, {eat_c pgd100} and {eat_d pgd100} % under PGD-100, where the paper has 3.41, 22.86, 0.08
and 0.08. Rows with fewer passes than 20 say so: what a quarter of them shows of R-FGSM images alone need not last."""

TABLE4 = """\
Rows as in table 3, epsilon 24/255, alpha half of that in R-FGSM's rows and 0.8/255 in `proposed` and `lambda0`; chance
is 10 %. `fgsm_only_8` is at 8/255, the published epsilon, at which this network did not mask in ten passes, nor was it
trained for twenty; `proposed_quarter` has an alpha of a quarter of epsilon, as in the lab's later code. Rows called
longer have 20 passes.

Ten passes are too few for `lambda0` to mask: at three seeds {lambda0 fgsm, each} % stand under FGSM and
{lambda0 pgd20, each} % under PGD-20, where the term keeps {proposed pgd20} %. `rfgsm_fgsm` does not mask either
({rfgsm_fgsm fgsm} and {rfgsm_fgsm pgd20} %), nor do R-FGSM images alone, with half of epsilon ({rfgsm_only fgsm} and
{rfgsm_only pgd20} %), which cost less on clean images. Ensembles keep {eat_a clean}, {eat_b clean} and {eat_c clean} %
of clean images and fall to {eat_a pgd20}, {eat_b pgd20} and {eat_c pgd20} % under PGD-20, whereas the paper has 0.67,
18.31 and 20.24.

`fgsm_only` trains on the same images as `lambda0`, which share a pass with R-FGSM images there and so its batch norm.
At three seeds {fgsm_only fgsm, each} % stand under FGSM and {fgsm_only pgd20, each} % under PGD-20: the first, which
masks, was trained in float32, the others in bfloat16, and in bfloat16 the first does not mask either (table 6). Means
and intervals of its row are of two kinds of network. Those that do not mask withstand PGD-20 as well as PGD training
and the term do: after ten passes nothing tells these apart. Twenty passes do: in bfloat16, too, the first seed then
masks, from the fifteenth on ({fgsm_only_longer fgsm} % under FGSM and {fgsm_only_longer pgd20} % under PGD-20).

So does `lambda0`, from the eleventh on: {lambda0_longer fgsm} % under FGSM and {lambda0_longer pgd20} % under PGD-20.
Nor does the term keep the network from it with so small an offset as on MNIST: `proposed_longer` comes to
{proposed_longer fgsm} and {proposed_longer pgd20} %, and masking sets in during the sixteenth pass. The distance in its
readings, at an offset of a quarter of epsilon, jumps then, though by far less than without the term; the term itself
looks at a thirtieth, where the two images are nearly one. With an alpha of a quarter it holds: at two seeds
`proposed_quarter_longer` comes to {proposed_quarter_longer fgsm, each} % under FGSM and
{proposed_quarter_longer pgd20, each} % under PGD-20, and that distance stays as small as it was. R-FGSM and FGSM
images, with half of epsilon, stay in between: {rfgsm_fgsm_longer fgsm, each} % under FGSM and
{rfgsm_fgsm_longer pgd20, each} % under PGD-20, gaps just over the 5 points that the claims here allow; that is below
the term under PGD-20 and above it on clean images ({rfgsm_fgsm_longer clean} against {proposed_quarter_longer clean}
%). R-FGSM images alone mask, if weakly, by the same measure: {rfgsm_only_longer fgsm} and {rfgsm_only_longer pgd20} %,
which is under chance. After PGD training {pgd_longer fgsm, each} % stand under FGSM and {pgd_longer pgd20, each} %
under PGD-20. At each of the two seeds PGD training and the term with the larger alpha stand above all others, but
intervals apart only at the first: two seeds and 10,000 images do not settle the order of the term and of R-FGSM and
FGSM images."""

TABLE5 = """\
Rows: the network that FGSM images were made on; `itself` is the white-box attack, `clean` no attack. Columns: the
training of the network that they were tried on, as in table 3."""

TABLE6 = """\
As table 5, on CIFAR-10 after ten passes. The weights of table 4 were not kept: its networks were trained again for this
table, with the same seeds, all in bfloat16, and `itself` is FGSM on these. The one trained on half clean images masks
again: {itself fgsm} % stand under its own FGSM images, more than of the clean ones, and {vgg-11 fgsm} and {vgg-19 fgsm}
% under those of the others. On adversarial images alone this one does not: {itself fgsm_only} % under its own and
{vgg-11 fgsm_only} and {vgg-19 fgsm_only} % under the others', as with the term and with PGD, where in table 4, trained
in float32, it masks, and at two further seeds in bfloat16 does not. By it the second part of the first claim fails.
Whether bfloat16 delays masking or so short a training stands on its edge, one training in float32 cannot tell. In
twenty passes it masks in bfloat16, too (table 4). Networks that do not mask lose few images to the others' attack, as
published, but at accuracies far below the published ones: of clean images they classify {clean pgd} (PGD) and
{clean proposed} % (the term), and {worst pgd} and {worst proposed} % under the worse of the two attacks."""

TABLE7 = """\
`MNIST ratio` is to normal training in the same round, `by passes` what the ratio would be if forward, gradient in the
images and gradient in the weights took the same time each, `share of peak` in per cent of a large matrix product's
operations per second, in the precision of the methods. The first claim names machine and precision. No readings; the
median of the rounds with its 95 % interval by order statistics. The bare loops are normal training with nothing but
what it needs. An ensemble has three untrained sources of the same network here. The paper's FGSM time stands beside
`fgsm_only`, whose passes it fits. On CIFAR-10, where PGD training has 7 steps, it takes less than twice the proposed
training's time (published: 2.2 times). GradAlign's second derivative goes through batch norm on CIFAR-10, where it is a
long chain of sums and products, which takes more than the passes do."""

NOISE = """\
The paper has it that noise turns a masked network's gradient, and hardly that of one that is not masked (cosine 1).
Rows as in table 3; the gradient is that of log-odds, whose direction is cross entropy's, at 250 test images (1,000 for
`normal`). On adversarial images alone noise of 0.01 turns it much more ({fgsm_only noise}) than with the term
({proposed noise}) or with PGD training ({pgd noise}), on half clean images hardly more: there the cosine is
{fgsm noise}. Anywhere in the ball it is lower, too ({fgsm ball} against {proposed ball} with the term and {pgd ball}
with PGD)."""

ABLATION = """\
Accuracy in per cent; rows are the proposed training with another weight (lambda) and alpha, with the paper's step of
`epsilon - alpha` from the offset, and with batches of 64. `worst` is the worst case over all attacks. What decides is
alpha: with weight 5, {weight 5, alpha 0.01 pgd100} % stand under PGD-100 at 0.01, {weight 5, alpha 0.05 pgd100} at 0.05
and {weight 5, alpha 0.15 pgd100} at 0.15. At 0.01, 0.05 and 0.15 weight 1 comes to {weight 1, alpha 0.01 pgd100},
{weight 1, alpha 0.05 pgd100} and {weight 1, alpha 0.15 pgd100} %, weight 25 to {weight 25, alpha 0.01 pgd100},
{weight 25, alpha 0.05 pgd100} and {weight 25, alpha 0.15 pgd100} %: more weight than 5 brings nothing and costs clean
images ({weight 25, alpha 0.01 clean}, {weight 25, alpha 0.05 clean} and {weight 25, alpha 0.15 clean} % against
{weight 5, alpha 0.01 clean}, {weight 5, alpha 0.05 clean} and {weight 5, alpha 0.15 clean} %). At an alpha of half of
epsilon the paper's own step does better than the full one ({remaining step, alpha 0.15 pgd100} %), but not as well as a
small alpha. Batches of 64, which halve the updates, come to {batch doubled pgd100} %. One seed: differences of less
than a point say nothing, the less so between rows that were trained in float32 and in bfloat16."""

PRECISION = """\
Images standing, in per cent, and the difference in points with its paired 95 % interval (Bonett and Price). FGSM on all
test images, PGD on 4,000. On processors that do not multiply in bfloat16 its rounding is emulated: what each layer
takes and returns is rounded, sums are in float32. `pgd_shorter` is PGD training after a quarter of its passes.

Networks trained in float32 fall to attacks made in bfloat16 as they do to those made in float32. On `pgd`, trained in
bfloat16 with attacks made in bfloat16, they are weaker: under longer PGD {pgd longer pgd, bfloat16} % stand, and
{pgd longer pgd, float32} % where its gradients are taken in float32. The last two columns ask whether it has learned to
withstand that rounding. They are longer PGD in float32, made on copies with other weights: rounded to bfloat16
{pgd longer pgd, weights rounded} % stand, and each moved as far, up or down at random, {pgd longer pgd, weights moved}
% (the mean of three draws). So most of the difference comes with any error of that size, and what rounding adds is not
told from nothing in one draw of three. Why this network is so sensitive is open: `pgd_shorter`, which is not, had fewer
passes and was also trained in float32. All other accuracies are evaluated in float32."""

STUCK = """\
Numbers of starts. *Called* means called stuck; a start is at chance if its network is right on fewer than 20 % of the
validation images in the end."""

FIG1 = """\
Under FGSM training on half clean images the mean distance between the logits of FGSM and R-FGSM images grows
{growth of the distance, half clean}-fold from the first updates to the last, in each seed more than tenfold though the
interval meets ten, and on adversarial images alone {growth of the distance, adversarial only}-fold; PGD's loss on
validation images then exceeds FGSM's by {loss gap, late, half clean} and {loss gap, late, adversarial only} nats after
5,000 updates. It sets in earlier than published, where the losses are alike after 1,000 updates: here they are
{loss gap, early, half clean} and {loss gap, early, adversarial only} nats apart by then, and on training images
{loss gap, at first, half clean} and {loss gap, at first, adversarial only} at the first look, after 250. The distance
stays far below the published 300 to 450: it is {last distance, half clean} and {last distance, adversarial only} in the
end. Squared, as the paper's term has it, that is {last distance, squared, half clean} and
{last distance, squared, adversarial only}: if the figure shows squares, adversarial images alone come near it, from
above. Under the proposed training the distance in the end is {growth of the distance, proposed} times what it was, and
the gap on test images in the end is {loss gap, end, proposed} nats."""

FIG2 = """\
Under PGD training the distance never exceeds {largest distance, PGD}, and PGD's loss on validation images exceeds
FGSM's by {loss gap, late, PGD} nats after 5,000 updates. Since the first updates the distance grows
{growth of the distance, PGD, each}-fold at the three seeds, but since the network classifies half of the clean images
{growth of the distance since it has learned, PGD, each}-fold: PGD training learns slowly, slowest at the first seed,
and logits that are still nearly constant are nearly equal. Growth alone does not tell masking: in size the distance is,
in the mean of the seeds, at most a quarter of that under FGSM training on half clean images from the 250th update on,
and about a tenth from the 10,000th (figure 1)."""

FIG3 = """\
Of 250 test images those that stand under PGD, in per cent. A network whose accuracy stayed up however large epsilon
grows would be masked. On MNIST {accuracy at the trained epsilon, MNIST} % stand at 0.3, for which it was trained, and
{accuracy at the largest, MNIST} % at 0.4; on CIFAR-10 {accuracy at the trained epsilon, CIFAR-10} % at 24/255 and
{accuracy at the largest, CIFAR-10} % at 48/255, which is chance, but not less than half, as the claim asks. CIFAR-10's
network is that of ten passes: in twenty the same training masks (table 4)."""

FIG4 = """\
Mean cross entropy of 250 test images. Where gradients are masked, PGD's loss leaves FGSM's behind. CIFAR-10's network
is that of ten passes: in twenty the same training masks (table 4)."""

SINGLE_STEP = """\
Equal passes for all, which is not equal time: `seconds per pass` and their `ratio` to normal training's are from table
7's timing, one method after the other on the same machine, with intervals over rounds. `worst` is the worst case over
all attacks; GradAlign's and StepDistance's weights are not tuned for MNIST. N-FGSM stays near chance after three starts
with its default noise, up to twice epsilon, which with the step reaches 0.9 of the range of pixels ({n-fgsm clean} % on
clean images, and a loss that is still that of guessing). With noise up to half of epsilon, so that black stays darker
than white, it comes to {n-fgsm, k 0.5 clean} %, and to {n-fgsm, k 0.5 pgd100} % under PGD-100: it masks. So does
StepDistance ({step-distance pgd100} %): the distance between the ends of its own step does not do what that between
FGSM and R-FGSM images does, at this weight and offset."""
